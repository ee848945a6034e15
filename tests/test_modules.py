"""What compiling kernel modules says, what shapes it, and which kernels there are to compile for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from aistack.commands import compiling
from aistack.commands.kernels import Tried, Verdict, _whatever_the_kernel
from aistack.compose import modules
from aistack.compose.distros import debian
from aistack.compose.kernels import offered, upstream
from aistack.diagnostics import Diagnostic, DiagnosticError, Severity
from aistack.facts.pins import LockedPackage, LockedRoot, Signing
from aistack.facts.systems import Kernel
from aistack.host import signing
from aistack.host.store import Store

LOGS = Path(__file__).parent / "logs"


@pytest.mark.parametrize(
    ("log", "first"),
    [
        ("nvidia-open-550.163.01-on-6.12.118.log", "nv-pci.c:237: too few arguments to function 'pci_resize_resource'"),
    ],
)
def test_the_first_error_of_a_real_log_is_told(log: str, first: str) -> None:
    assert modules.errors((LOGS / log).read_text())[0] == first


def test_conftests_and_warnings_are_no_errors() -> None:
    assert modules.errors(" CONFTEST: dma_fence_set_error\nwarning: x\ngcc -Werror=return-type -o a.o a.c\nmake: *** Error 2\n") == ()


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Error! The /dkms.conf\nfor module x/1 includes a BUILD_EXCLUSIVE directive\nwhich does not match this kernel.\n", "x/1"),
        (
            "Error! The /var/lib/dkms/x/1/2/dkms.conf for module x includes a BUILD_EXCLUSIVE directive which does not match this "
            "kernel/arch/config.\nThis indicates that it should not be built.\n",
            "x",
        ),
        (
            "Error!  The /var/lib/dkms/x/1/dkms.conf for module x includes a BUILD_EXCLUSIVE directive which\n"
            "does not match this kernel/arch.  This indicates that it should not be built.\n",
            "x",
        ),
    ],
    ids=["Debian 13", "Debian 12", "Debian 11"],
)
def test_sources_that_exclude_a_kernel_are_heard(said: str, name: str) -> None:
    assert modules.errors(said) == (f"{name} says itself that it is not for this kernel (BUILD_EXCLUSIVE in its dkms.conf)",)


def test_what_nvidias_own_build_refuses_is_heard_and_a_broken_compiler_is_no_verdict() -> None:
    said = "The kernel you are installing for is a PREEMPT_RT kernel!\n\n*** {} sanity check. Bailing out! ***\nmake: *** Error 1\n"
    assert modules.errors(said.format("Failed PREEMPT_RT")) == ("Failed PREEMPT_RT sanity check",)
    assert modules.errors(said.format("Failed CC")) == ()


@pytest.mark.parametrize(
    "trouble",
    [
        "nv.c:1:0: fatal error: opening dependency file nvidia/.nv.o.d: No space left on device",
        "/b/nv.c:1:0: fatal error: error writing to /tmp/ccX.s: Disk quota exceeded",
        "make[3]: fork: Cannot allocate memory",
        "x86_64-linux-gnu-gcc-14: fatal error: Killed signal terminated program cc1",
        "conftest.sh: line 62:  4242 Killed                  $CC $CFLAGS -c conftest.c",
        "make[3]: *** [Makefile:245: nvidia/nv.o] Killed",
    ],
)
def test_a_machine_that_gave_out_is_no_verdict_whatever_is_refused_after_it(trouble: str) -> None:
    follows = "nv-time.h:145: error: implicit declaration of function 'in_irq'"  # its conftest could not write what it found
    assert modules.errors(follows) and modules.errors(f"{trouble}\n{follows}\nmake: *** Error 2\n") == ()


@pytest.mark.parametrize("said", ["#error Killed by a check", "'nv_killed' undeclared", "unknown type name 'Killed'"])
def test_a_refusal_about_what_is_called_killed_is_one(said: str) -> None:
    assert modules.errors(f"nv.c:1:2: error: {said}\n")


def test_the_linker_of_modules_is_heard() -> None:
    said = (
        "ERROR: modpost: GPL-incompatible module nvidia.ko uses GPL-only symbol '__rcu_read_lock'\nERROR: modpost: \"x\" [y.ko] undefined!"
    )
    assert modules.errors(said) == (
        "GPL-incompatible module nvidia.ko uses GPL-only symbol '__rcu_read_lock'",
        '"x" [y.ko] undefined!',
    )


def package(name: str, source: str, sha256: str) -> LockedPackage:
    return LockedPackage(name=name, version="1", arch="amd64", sha256=sha256, size=1, origin="", filename=name, source=f"{source} 1")


def test_what_shapes_modules_is_kernel_sources_and_compiler() -> None:
    packages = [
        package("linux-headers-6.12.1-amd64", "linux", "a"),
        package("linux-image-6.12.1-amd64", "linux", "f"),
        package("nvidia-kernel-dkms", "nvidia-graphics-drivers", "b"),
        package("gcc-14", "gcc-14", "c"),
        package("nvidia-alternative", "nvidia-graphics-drivers", "d"),
        package("libc6", "glibc", "e"),
    ]
    root = LockedRoot(arch="amd64", os="debian-13", packages=tuple(packages))
    assert modules.shaping(root) == ["a", "b", "c"]


def test_a_refusal_names_what_was_tried_with_either_flavour(tmp_path: Path) -> None:
    store = Store(path=tmp_path)
    outputs = {
        "a": {
            "step": "modules 550.163.01",
            "kernel": "7.3.4-amd64",
            "os": "debian-13",
            "sources": {"open": "2"},
            "errors": ["x.c:1: gone"],
            "files": {"log": "log"},
        },
        "b": {"kernel": "6.12.118-amd64", "os": "debian-13", "sources": {"proprietary": "2"}, "errors": []},
        "another version": {"kernel": "7.3.5-amd64", "os": "debian-13", "sources": {"open": "1"}, "errors": []},
        "another OS": {"kernel": "7.3.6-amd64", "os": "debian-14", "sources": {"open": "2"}, "errors": []},
    }
    for step, document in outputs.items():
        (tmp_path / "outputs" / step).mkdir(parents=True)
        (tmp_path / "outputs" / step / "output.json").write_text(json.dumps(document))
    (found,) = compiling.refused(store, "a", outputs["a"]).diagnostics
    assert found.message == "the modules of open 2 do not compile for kernel 7.3.4-amd64"
    assert found.why == (
        "x.c:1: gone",
        f"everything that the compiler said: {tmp_path}/outputs/a/log",
        "tried here: 7.3.4-amd64 with open 2: does not compile",
        "tried here: 6.12.118-amd64 with proprietary 2: compiles",
        "newest kernel that was tried here and works: 6.12.118-amd64 with proprietary 2",
    )


CLOUD = Kernel(flavor="cloud", version="6.12.1", suite="s", packages=("linux-image-cloud-{arch}",), drm=False)


def test_kernels_of_one_flavour_newest_first_and_only_with_headers() -> None:
    import re

    pattern = re.compile(debian.kernel_images(CLOUD, "amd64"))
    assert pattern.fullmatch("linux-image-6.12.9+deb13-cloud-amd64")
    assert not pattern.fullmatch("linux-image-6.12.9+deb13-amd64")
    assert not pattern.fullmatch("linux-image-cloud-amd64")
    images = [
        ("trixie", "linux-image-6.12.9+deb13-cloud-amd64", "6.12.9-1"),
        ("backports", "linux-image-7.0.10+deb13-cloud-amd64", "7.0.10-1~bpo13+1"),
        ("backports", "linux-image-7.0.9+deb13-cloud-amd64", "7.0.9-1~bpo13+1"),
        ("security", "linux-image-6.12.9+deb13-cloud-amd64", "6.12.9-1"),
    ]
    headers = ["linux-headers-6.12.9+deb13-cloud-amd64", "linux-headers-7.0.10+deb13-cloud-amd64"]
    assert [(one.kernel, one.suite) for one in offered(images, headers)] == [
        ("7.0.10+deb13-cloud-amd64", "backports"),
        ("6.12.9+deb13-cloud-amd64", "trixie"),
    ]
    assert upstream("7.0.10+deb13-cloud-amd64") == "7.0.10"


def test_what_is_whatever_the_kernel_takes_two_kernels_to_tell() -> None:
    def tried(kernel: str, *said: str) -> Tried:
        errors = tuple(Diagnostic(rule="RS101", name="a", severity=Severity.ERROR, message=message) for message in said)
        return Tried(kernel=kernel, suite="trixie", verdict=Verdict.BREAKS, why=said, errors=errors)

    first, second = tried("7", "of this kernel", "of the recipe"), tried("6", "of the recipe", "of that kernel")
    assert _whatever_the_kernel([]) == _whatever_the_kernel([first]) == ()
    assert [found.message for found in _whatever_the_kernel([first, second])] == ["of the recipe"]
    assert _whatever_the_kernel([first, second, tried("5")]) == ()


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Signing]:
    folder = tmp_path_factory.mktemp("keys")
    argv = "openssl req -new -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -subj /CN=modules -days 30"
    subprocess.run(argv.split(), cwd=folder, check=True, capture_output=True)
    return folder, Signing(key="key.pem", certificate=(folder / "certificate.pem").read_text())


def test_a_signature_is_the_same_each_time_and_openssl_accepts_it(signer: tuple[Path, Signing], tmp_path: Path) -> None:
    folder, signs = signer
    store = Store(path=tmp_path / "store")
    module = b"\x7fELF" + bytes(5000)
    signed = signing.sign(store, module, signs, folder)
    assert signed == signing.sign(store, module, signs, folder)
    assert signed.startswith(module) and signed.endswith(signing.MAGIC)
    length = int.from_bytes(signed[-len(signing.MAGIC) - 4 : -len(signing.MAGIC)], "big")
    message = signed[-len(signing.MAGIC) - 12 - length : -len(signing.MAGIC) - 12]
    (tmp_path / "signature").write_bytes(message)
    (tmp_path / "module").write_bytes(module)
    argv = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "signature", "-content", "module", "-noverify", "-out", "out"]
    checked = subprocess.run(
        [*argv, "-certfile", str(folder / "certificate.pem")], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_a_key_that_is_not_there_is_told(signer: tuple[Path, Signing], tmp_path: Path) -> None:
    folder, signs = signer
    with pytest.raises(DiagnosticError) as failed:
        signing.sign(Store(path=tmp_path / "store"), b"x", Signing(key="other.pem", certificate=signs.certificate), folder)
    assert failed.value.diagnostics[0].rule == "KMD002"
    assert "other.pem" in " ".join(failed.value.diagnostics[0].why)
