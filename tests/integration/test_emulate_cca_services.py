"""A program in a realm that calls the realm monitor itself."""

import hashlib
import struct
import subprocess
from pathlib import Path

import pytest
from tests.integration.test_emulate_cca import COMPILER, Session, verify

from cloister.emulate.cca.machine import CcaMachine
from cloister.emulate.cca.rtt import Ripas
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.evidence.cca import parse
from cloister.measure.image import Image, read_image

pytestmark = pytest.mark.needs_program(COMPILER)

# ---- the realm's services, called by a program


SERVICES = r"""
typedef unsigned long word;
static long call(long number, long a, long b, long c) {
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
struct registers { word x[11]; };
static void smc(struct registers *r) {
    register word x0 __asm__("x0") = r->x[0], x1 __asm__("x1") = r->x[1], x2 __asm__("x2") = r->x[2];
    register word x3 __asm__("x3") = r->x[3], x4 __asm__("x4") = r->x[4], x5 __asm__("x5") = r->x[5];
    register word x6 __asm__("x6") = r->x[6], x7 __asm__("x7") = r->x[7], x8 __asm__("x8") = r->x[8];
    register word x9 __asm__("x9") = r->x[9], x10 __asm__("x10") = r->x[10];
    __asm__ volatile("smc 0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5), "+r"(x6), "+r"(x7),
                     "+r"(x8), "+r"(x9), "+r"(x10) : : "memory");
    r->x[0] = x0, r->x[1] = x1, r->x[2] = x2, r->x[3] = x3, r->x[4] = x4;
}
static __attribute__((aligned(4096))) unsigned char page[4096];
static void say(const void *bytes, long size) { call(64, 1, (long)bytes, size); }
void _start(void) {
    struct registers r = {{0xC4000190, 1UL << 16}};
    smc(&r);
    say(&r.x[0], 16);                                  /* version: status, lowest */
    r = (struct registers){{0xC4000193, 2, 5, 0x6f6c6c6568}};
    smc(&r);                                           /* extend register 2 with "hello" */
    r = (struct registers){{0xC4000192, 2}};
    smc(&r);
    say(&r.x[0], 40);                                  /* read it: status, 32 bytes */
    r = (struct registers){{0xC4000196, (word)page}};
    smc(&r);
    say(page, 8);                                      /* configuration: width of addresses */
    r = (struct registers){{0xC4000195, (word)page, 0, 100}};
    smc(&r);
    say(&r.x[0], 8);                                   /* no token was begun: ERROR_STATE */
    r = (struct registers){{0xC4000194, 1, 2, 3, 4, 5, 6, 7, 8}};
    smc(&r);
    do {
        r = (struct registers){{0xC4000195, (word)page, 16, 100}};
        smc(&r);
        say(page + 16, r.x[1]);                        /* the token, 100 bytes at a time */
    } while (r.x[0] == 3);
    ((word *)page)[0] = 9, ((word *)page)[1] = 0x5eed;
    r = (struct registers){{0xC4000199, (word)page}};
    smc(&r);
    say(page, 24);                                     /* a host call: number, answer, second register */
    r = (struct registers){{0xC4000198, (word)page}};
    smc(&r);
    say(&r.x[2], 8);                                   /* the page is RAM */
    r = (struct registers){{0xC4009999}};
    smc(&r);
    call(93, r.x[0] == -1UL ? 5 : 6, 0, 0);
}
"""


def built(tmp_path: Path, text: str) -> Image:
    source, target = tmp_path / "app.c", tmp_path / "app"
    source.write_text(text)
    words = [COMPILER, "-O1", "-static", "-nostdlib", "-ffreestanding", "-o", str(target), str(source)]
    subprocess.run(words, check=True, timeout=60)
    return read_image(target.read_bytes())


def test_a_program_asks_the_monitor_itself(tmp_path: Path) -> None:
    def make(terminal: Terminal) -> Machine:
        return CcaMachine(Shape(memory=8192), terminal, Keystore(tmp_path / "keys"))

    one = Session(make)
    one.cca.hypervisor.answer = lambda left: (left.gprs[0] + 1,)
    assert one.run(built(tmp_path, SERVICES)) == 5
    output = bytes(one.output)
    assert output[:16] == (0).to_bytes(8, "little") + (1 << 16).to_bytes(8, "little")
    assert output[16:56] == bytes(8) + hashlib.sha256(bytes(32) + b"hello").digest()
    assert output[56:64] == (40).to_bytes(8, "little")
    assert output[64:72] == (2).to_bytes(8, "little")
    challenge = b"".join(number.to_bytes(8, "little") for number in range(1, 9))
    verify(one.machine, output[72:-32], nonce=challenge)
    number, answered, _, ripas = struct.unpack("<4Q", output[-32:])
    assert (number, answered, ripas) == (9, 0x5EEE, Ripas.RAM)
    assert parse(output[72:-32]).realm_claims.extensible_measurements[1] == output[24:56]
    one.machine.close()


WRONG = r"""
void _start(void) {
    register unsigned long x0 __asm__("x0") = 0xC4000196, x1 __asm__("x1") = ADDRESS;
    __asm__ volatile("smc 0" : "+r"(x0) : "r"(x1) : "memory");
    register unsigned long x8 __asm__("x8") = 93;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8));
}
"""


@pytest.mark.parametrize(("address", "status"), [("0x12345000", 139), ("(unsigned long)_start", 139)])
def test_an_address_that_the_program_may_not_use_is_its_own_mistake(tmp_path: Path, address: str, status: int) -> None:
    """Nothing there, or code, which may not be written."""
    one = Session(lambda terminal: CcaMachine(Shape(memory=2048), terminal, Keystore(tmp_path / "keys")))
    one.machine.launch(built(tmp_path, WRONG.replace("ADDRESS", address)))
    one.machine.start(["program"], {})
    ending = one.machine.run()
    assert (ending.status, ending.stopped) == (status, "")
    one.machine.close()


def test_a_page_that_was_taken_stops_the_call_as_it_stops_the_program(tmp_path: Path) -> None:
    source = WRONG.replace("void _start", '__attribute__((aligned(4096))) char page[4096] = "x";\nvoid _start')
    one = Session(lambda terminal: CcaMachine(Shape(memory=2048), terminal, Keystore(tmp_path / "keys")))
    image = built(tmp_path, source.replace("ADDRESS", "(unsigned long)page"))
    one.machine.launch(image)
    one.machine.start(["program"], {})
    (data,) = [page.address for page in image.pages if page.content.startswith(b"x")]
    one.machine.withhold(one.machine.host_address(data))
    assert "RIPAS DESTROYED" in one.machine.run().stopped
    one.machine.close()
