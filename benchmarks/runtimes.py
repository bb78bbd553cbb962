"""Programs that bring a runtime of their own, as whole processes and, where a compiler learns meanwhile, once warm.

Node and Java compile while they run: their first second is mostly that, and memory that is touched for the first time.
"""

import shutil
from collections.abc import Iterator

from benchmarks.benchmark import Benchmark, Better, Group, Need, NotMeasured, Quantity, Run, enclaved, native
from benchmarks.goals import speed
from benchmarks.needs import PROGRAMS, find
from benchmarks.processes import run, whole_and_last

__all__ = ["GO", "JAVA", "NODE"]

PAGES = 1500
SITE = """\
baseURL = "http://localhost/"
disableKinds = ["RSS", "sitemap", "taxonomy", "term"]
"""
SINGLE = "<html><title>{{ .Title }}</title><body>{{ .Content }}<p>{{ .WordCount }} words</p></body></html>\n"
LISTED = '<html><body>{{ range .Pages }}<a href="{{ .RelPermalink }}">{{ .Title }}</a>{{ end }}</body></html>\n'
PART = """\
## Part {part}

Some *words* of page {page}, a [link](http://localhost/{part}), `code {page}` and **more** of them.

- one
- two

| a | b |
|---|---|
| {page} | {part} |
"""


def measure_node(this: Run) -> dict[str, float]:
    """Seconds for the whole process, and for its last round."""
    return whole_and_last(this.arm.start([find("node"), str(PROGRAMS / "work.js")]))


def measure_java(this: Run) -> dict[str, float]:
    """The same; the class is compiled natively when first needed."""
    if not (this.scratch / "Work.class").exists():
        run([find("javac"), "-d", str(this.scratch), str(PROGRAMS / "Work.java")])
    return whole_and_last(this.arm.start([find("java"), "-cp", str(this.scratch), "Work"]))


def measure_go(this: Run) -> dict[str, float]:
    """Seconds in which hugo makes a site of 1,500 pages."""
    site, made = this.scratch / "site", this.scratch / "public"
    if not site.exists():
        for name, text in files_of_a_site():
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(text)
    shutil.rmtree(made, ignore_errors=True)
    words = ["--quiet", "--source", str(site), "--destination", str(made), "--cacheDir", str(this.scratch / "cache")]
    seconds = run(this.arm.start([find("hugo"), *words])).seconds
    if len(list(made.glob("posts/*/index.html"))) != PAGES:
        raise NotMeasured(f"hugo made {len(list(made.glob('posts/*/index.html')))} pages, not {PAGES}")
    return {"whole": seconds}


def files_of_a_site() -> Iterator[tuple[str, str]]:
    """Names and contents of a small site."""
    yield "config.toml", SITE
    yield "layouts/_default/single.html", SINGLE
    yield "layouts/_default/list.html", LISTED
    yield "layouts/index.html", LISTED
    for page in range(PAGES):
        parts = "\n".join(PART.format(page=page, part=part) for part in range(6))
        yield f"content/posts/{page}.md", f"---\ntitle: Page {page}\n---\n{parts}"


NODE = Benchmark(
    name="node",
    quantities=(
        Quantity(
            key="whole", what="node, a script of 1 s", unit="s", better=Better.LESS, group=Group.PROGRAMS,
            goal=speed(0.90),
        ),
        Quantity(key="last", what="node, 18th round", unit="s", better=Better.LESS, group=Group.STEADY),
    ),
    needs=(Need(program="node", package="nodejs"),),
    measure=measure_node,
    baseline=native,
    candidate=enclaved,
)  # fmt: skip
JAVA = Benchmark(
    name="java",
    quantities=(
        Quantity(
            key="whole", what="java, a program of 0.5 s", unit="s", better=Better.LESS, group=Group.PROGRAMS,
            goal=speed(0.90),
        ),
        Quantity(key="last", what="java, 24th round", unit="s", better=Better.LESS, group=Group.STEADY),
    ),
    needs=(
        Need(program="java", package="default-jre-headless"),
        Need(program="javac", package="default-jdk-headless"),
    ),
    measure=measure_java,
    baseline=native,
    candidate=enclaved,
)  # fmt: skip
GO = Benchmark(
    name="hugo",
    quantities=(
        Quantity(
            key="whole", what="hugo (Go), 1,500 pages", unit="s", better=Better.LESS, group=Group.PROGRAMS,
            goal=speed(0.95),
        ),
    ),
    needs=(Need(program="hugo", package="hugo"),),
    measure=measure_go,
    baseline=native,
    candidate=enclaved,
)  # fmt: skip
