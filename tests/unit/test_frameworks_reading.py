"""Reading configurations of frameworks: what each file means, where each value stands, and what is refused."""

import json

import pytest
from tests.forge.frameworks import EGO, FULL, GRAMINE, SCONE

from cloister.errors import PolicyError, UsageError
from cloister.frameworks.conversion import Outcome, convert, merge
from cloister.frameworks.formats import FORMATS, detect, read_configuration
from cloister.frameworks.model import Backing, Configuration, Identity, MeasuredFile, Mount, Variable


def read(text: str, form: str, service: str | None = None) -> Configuration:
    return read_configuration(text, "file", form, service)


@pytest.mark.parametrize("form", FORMATS)
def test_every_documented_key_has_a_source_and_is_in_the_full_file(form: str) -> None:
    """A table that names a key which no file can have would be believed."""
    table = FORMATS[form].table
    assert all(key.source for key in table)
    before = read(FULL[form], form, "web" if FORMATS[form].read_service else None)
    assert not [one.path for one in before.kept if not one.known]
    text = FULL[form]
    for key in table:
        last = [part for part in key.parts if part not in {"*", "[]"}][-1]
        assert last in text, f"{key.path} is in no full file"


def test_gramine_means_what_it_says() -> None:
    found = read(GRAMINE, "gramine")
    assert (found.program, found.argument_zero, found.arguments) == ("/usr/bin/python3", "python3", ("-m", "app"))
    assert found.environment["TABLE"] == Variable("c")
    assert found.environment["dotted.name"] == Variable(from_host=True)
    assert found.mounts["/data"] == Mount(Backing.ENCRYPTED, "data", "mine", options=(("enable_recovery", True),))
    assert found.mounts["/out"] == Mount(Backing.HOST, "out/"), "a mount of an allowed directory is the host's"
    assert found.mounts["/lib"] == Mount(Backing.MAPPED, "/usr/lib/x")
    assert (found.host_files, found.memory, found.subprocesses) == ({"spool": ""}, 1 << 30, False)
    assert found.measured_files["/usr/bin/python3"] == MeasuredFile(("/usr/bin/python3",)), "by the root"
    for item, text in ((("measured_files", "app.py"), '{ uri = "file:app.py"'), (("mounts", "/tmp"), '"tmpfs"')):
        assert found.place(item) == f"file:{GRAMINE[: GRAMINE.index(text)].count(chr(10)) + 1}"


def test_scone_means_what_it_says() -> None:
    found = read(SCONE, "scone", "web")
    assert (found.program, found.arguments) == ("python3", ("app.py",))
    assert found.environment["REGION"] == Variable(from_host=True)
    assert found.environment["PORT"] == Variable("8080")
    assert list(found.identities.values())[2] == Identity(None, "cd" * 32, 6, 2)
    assert found.tolerated == {"OutOfDate": "", "INTEL-SA-00334": ""}
    assert found.accept_debug
    assert found.injected_files == {"/etc/a.conf": None, "/etc/b.conf": "b"}


def test_a_secret_that_another_session_makes_needs_no_kind() -> None:
    text = FULL["scone"].replace("kind: binary, import", "import").replace("name: j,", "name: j, kind: ascii,")
    read = read_configuration(text, "f", "scone", "web")
    assert "i" not in read.secrets
    assert read.secrets["j"].kind == "ascii"
    assert "secrets[4]" in {one.item for one in convert(read, "cloister-session").losses}
    with pytest.raises(PolicyError, match=r"secrets\[2\] needs a name and a kind"):
        read_configuration(text.replace("kind: private-key, key_type", "key_type"), "f", "scone", "web")


def test_the_arguments_of_the_host_are_not_taken_for_words() -> None:
    found = read(SCONE, "scone", "other")
    assert (found.program, found.arguments, found.host_arguments) == ("cat", None, True)
    assert "@@1" not in convert(found, "gramine").text


@pytest.mark.parametrize("to", ["gramine", "ego", "occlum"])
def test_a_reference_to_a_secret_never_becomes_a_value(to: str) -> None:
    found = convert(read(SCONE, "scone", "web"), to)
    assert "$$" not in found.text
    assert "environment.PW" in {one.item for one in found.losses}


def test_no_report_shows_what_may_be_secret() -> None:
    session = SCONE.replace("chosen by people", "hush-hush").replace("MODE: prod", "MODE: hush-hush")
    for to in FORMATS:
        found = convert(read(session, "scone", "web"), to)
        assert not [one for one in found.differences if "hush-hush" in f"{one.before}{one.after}{one.reason}"]
    keys = GRAMINE.replace("00112233445566778899aabbccddeeff", "hush-hush")
    assert "hush-hush" not in str(convert(read(keys, "gramine"), "ego").differences)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for x in y %}\n", "1: this is a template"),
        ('libos.entrypoint = "{{ entry }}"\n', "1: this is a template"),
        ("a = 1\nlibos.entrypoint = 3\n", "2: libos.entrypoint is text, not a whole number"),
        ('loader.log_level = "loud"\n', "1: loader.log_level is one of none, error"),
        ('sgx.enclave_size = "much"\n', "1: sgx.enclave_size is a size"),
        ("sgx.max_threads = -1\n", "1: sgx.max_threads is negative"),
        ('loader.env.A = { value = "x", passthrough = true }\n', "1: loader.env.A has either"),
        ("loader.env.A = { passthrough = false }\n", "1: loader.env.A.passthrough is one of True"),
        ('sgx.trusted_files = [\n  "file:a",\n  "https://b",\n]\n', r"3: sgx.trusted_files\[1\] is no file:PATH"),
        ('fs.mounts = [{ uri = "file:a" }]\n', r"1: fs.mounts\[0\] has no path"),
        ("sgx.debug = true\nsgx.debug = false\n", "2: Cannot overwrite a value"),
    ],
)
def test_what_gramine_would_refuse_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=f"file:{said}"):
        read(text, "gramine")


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        ("ego", '{\n "exe": "a",\n "heapSize": "big"\n}', "file:3: heapSize is whole number"),
        ("ego", '{"exe": "a", "exe": "b"}', "stands twice"),
        ("ego", "{", "this is not the JSON"),
        ("ego", '{"mounts": [{"target": "/", "type": "nfs"}]}', "one of hostfs, memfs"),
        ("ego", '{"mounts": [{"target": "/d", "type": "hostfs"}]}', "needs a target"),
        ("ego", '{"env": [{"name": "A=B"}]}', "has no name"),
        ("occlum", "{\n // a comment\n}", "this is not the JSON"),
        ("occlum", '{"resource_limits": {"user_space_size": "300"}}', "is a size such as"),
        ("occlum", '{"env": {"default": ["X"]}}', "is no NAME=VALUE"),
        ("occlum", '{"feature": {"amx": 3}}', "is 0"),
        ("sgx-sdk", "<!DOCTYPE x><EnclaveConfiguration/>", "one element <EnclaveConfiguration>"),
        ("sgx-sdk", "<EnclaveConfiguration><ProdID a='1'>1</ProdID></EnclaveConfiguration>", "elements <Name>"),
        ("sgx-sdk", "<EnclaveConfiguration><ProdID>&x;</ProdID></EnclaveConfiguration>", "elements <Name>"),
        ("sgx-sdk", "<EnclaveConfiguration>\n<ProdID>x</ProdID></EnclaveConfiguration>", "file:2: ProdID is a whole"),
        ("sgx-sdk", "<EnclaveConfiguration><AMX>1</AMX><AMX>0</AMX></EnclaveConfiguration>", "stands twice"),
        ("occlum", '{"env": ["A=b"]}', "env is a table"),
        ("ego", '{"env": {"A": "b"}}', "env is a list"),
        ("gramine", 'sgx.trusted_files.a = "file:a"', "sgx.trusted_files is a list"),
        ("scone-env", "SCONE_HEAP=1G\nSCONE_HEAP=2G\n", "file:2: SCONE_HEAP stands twice"),
        ("scone-env", "SCONE_HEAP\n", "file:1: a line NAME=VALUE"),
        ("scone", "name: a\nversion: 0.2\n", "another session language"),
        ("scone", "name: a\nservices: [{ name: w, environment: { A: yes } }]\n", "some readers of YAML"),
        ("scone", "services:\n  - name: w\n    attestation: [{}]\n", "neither mrenclave nor mrsigner"),
        ("scone", "a: &x 1\nb: *x\n", "an anchor"),
        ("cloister-manifest", f'program = "bin/app"\nsha256 = "{"ab" * 32}"\n', "file:2: sha256 is no absolute path"),
        ("cloister-manifest", '[files]\n"/lib/x" = "aa"\n', "file:2: files./lib/x is no absolute path"),
        ("cloister-session", "services: [{ name: a }, { name: b }]\n", "several services"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(form: str, text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said.replace("(", r"\(")):
        read(text, form)


def test_a_service_that_is_not_there_is_named() -> None:
    with pytest.raises(PolicyError, match="there is no service x; there is web, other"):
        read(SCONE, "scone", "x")
    with pytest.raises(UsageError, match="--service is for sessions"):
        read(GRAMINE, "gramine", "x")


def test_what_is_recognised_as_nothing_or_as_two_is_refused() -> None:
    with pytest.raises(PolicyError, match="in no format that is recognised"):
        detect("hello\n", "x")
    with pytest.raises(PolicyError, match="could be gramine or scone-env"):
        detect("SCONE_HEAP=1G\nsgx.debug = true\n", "x")


def test_unknown_keys_are_kept_and_named() -> None:
    text = GRAMINE + "sgx.from_the_future = { a = [1, 2] }\n"
    found = convert(read(text, "gramine"), "gramine")
    assert "sgx.from_the_future.a = [1, 2]" in found.text
    lost = [one for one in convert(read(text, "gramine"), "ego").losses if "future" in one.item]
    assert [one.item for one in lost] == ["sgx.from_the_future.a[0]", "sgx.from_the_future.a[1]"]
    assert "not documented" in lost[0].reason


def test_two_files_of_one_program_are_taken_together() -> None:
    both = merge(read(SCONE, "scone", "web"), read("SCONE_HEAP=1G\nSCONE_QUEUES=2\n", "scone-env"))
    assert (both.memory, both.working_directory) == (1 << 30, "/app")
    assert "SCONE_QUEUES" not in convert(both, "scone").text, "a variable is no key of a session"
    assert "SCONE_QUEUES=2" in convert(both, "scone-env").text
    with pytest.raises(PolicyError, match="memory is not what file:1 says"):
        merge(read("SCONE_HEAP=1G\n", "scone-env"), read("SCONE_HEAP=2G\n", "scone-env"))


def test_sizes_that_a_format_does_not_have_become_larger_and_are_named() -> None:
    text = json.dumps({**EGO, "heapSize": 600})
    found = convert(read(text, "ego"), "gramine")
    assert 'sgx.enclave_size = "1G"' in found.text
    changed = next(one for one in found.differences if one.item == "memory")
    assert (changed.outcome, changed.before, changed.after) == (Outcome.CHANGED, str(600 << 20), str(1 << 30))


def test_a_file_that_is_seen_in_two_places_stands_in_both() -> None:
    """As in images that have a library twice, once for each C library."""
    bom = "targets:\n  - { target: /bin, copy: [{ files: [/usr/bin/tool] }] }\n"
    bom += "  - { target: /, copy: [{ files: [/usr/bin/tool] }] }\n"
    found = read(bom, "occlum-bom")
    assert found.measured_files == {"/usr/bin/tool": MeasuredFile(("/bin/tool", "/tool"))}
    for form in ("gramine", "ego", "occlum-bom"):
        there = convert(found, form)
        assert not there.losses
        assert read(there.text, form).measured_files == found.measured_files
    listed = "".join(f'{{ uri = "file:a", sha256 = "{digit * 64}" }},' for digit in "ab")
    with pytest.raises(PolicyError, match="listed twice with different digests"):
        read(f"sgx.trusted_files = [{listed}]\n", "gramine")


def test_an_embedded_file_is_seen_in_gramine_too() -> None:
    """A trusted file that no mount shows could not be opened."""
    made = convert(
        read('{"files": [{"source": "ca.pem", "target": "/etc/ca.pem"}, {"source": "/etc/hosts"}]}', "ego"), "gramine"
    )
    assert '{ path = "/etc/ca.pem", uri = "file:ca.pem" }' in made.text
    assert '{ path = "/etc/hosts", uri = "file:/etc/hosts" }' in made.text


def test_a_program_that_gramine_would_not_start_is_said_to_be_missing() -> None:
    """EGo measures the program by itself; Gramine opens only what is listed."""
    found = convert(read('{"exe": "server"}', "ego"), "gramine")
    missing = [one for one in found.differences if one.outcome is Outcome.MISSING]
    assert [one.item for one in missing] == ["libos.entrypoint"]
    assert 'add "file:server" to sgx.trusted_files' in missing[0].reason
    listed = Configuration(program="/server", measured_files={"server": MeasuredFile(("/server",))})
    assert not [one for one in convert(listed, "gramine").differences if one.outcome is Outcome.MISSING]


def test_two_files_that_want_one_place_do_not_make_a_manifest_that_cannot_be_read() -> None:
    files = {"/a": MeasuredFile(("/x",)), "/b": MeasuredFile(("/x",))}
    both = Configuration(measured_files=files, mounts={"/y": Mount(Backing.MEMORY)})
    found = convert(both, "gramine")
    assert found.text.count('path = "/x"') == 1
    assert [one.item for one in found.losses] == ["measured_files./b"]


def test_debug_is_off_where_a_format_must_say_something() -> None:
    nothing = Configuration(program="/bin/app")
    assert json.loads(convert(nothing, "ego").text)["debug"] is False
    assert json.loads(convert(nothing, "occlum").text)["metadata"]["debuggable"] is False
    assert "<DisableDebug>1</DisableDebug>" in convert(nothing, "sgx-sdk").text


def test_occlum_lets_the_host_start_nothing_but_the_program() -> None:
    made = json.loads(convert(Configuration(program="/bin/app"), "occlum").text)
    assert made["entry_points"] == ["/bin/app"]
