"""Secrets in images: in files, in layers below, in settings and history; and what looks like one and is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from images_read import Files, read

from aistack.compose import credentials
from aistack.compose.findings import Outcome
from aistack.compose.tidy import TIDY
from aistack.facts.filesystem import Filesystem

(IDENTITY,) = (check for check in TIDY if check.name == "no-identity")
PEM = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
TOKEN = "hf_" + "a1B2" * 9
LOGIN = "machine a.example login u password p\n"

HELD = {
    "/etc/apt/auth.conf": LOGIN,
    "/etc/apt/auth.conf.d/a.conf": LOGIN,
    "/root/.netrc": "machine a.example\nlogin u\npassword p\n",
    "/etc/pip.conf": "[global]\nindex-url = https://u:secret@a.example/simple\n",
    "/root/.pypirc": "[pypi]\nusername = u\npassword = x\n",
    "/root/.kube/config": "users:\n- name: a\n  user:\n    token: abc\n",
    "/root/.cache/huggingface/token": "hf_abc",
    "/home/a/.config/huggingface/token": "hf_abc",
    "/root/.bash_history": f"export HF_TOKEN={TOKEN}\n",
    "/etc/app.env": "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI7K7MDENGbPxRfiCYEXAMPLEKEY\n",
    "/root/.aws/credentials": "[default]\naws_secret_access_key = x\n",
}
EMPTY = {
    "/etc/apt/auth.conf": f"# {LOGIN}",
    "/root/.netrc": "",
    "/root/.docker/config.json": '{"auths": {}, "credHelpers": {"a.example": "b"}}',
    "/etc/pip.conf": "[global]\n# https://u:secret@a.example\nindex-url = https://a.example:8080/simple/@x\nextra = https://${USER}:${PASS}@a.example\n",
    "/root/.pypirc": "[pypi]\nusername = __token__\n",
    "/root/.bash_history": "export HF_TOKEN=$(cat token)\n",
    "/etc/app.env": "HF_TOKEN=\nMAX_TOKEN=4096\nTOKEN_FILE=/run/secrets/token\n",
    "/usr/share/doc/a/examples/server.key": PEM.decode(),
    "/usr/lib/python3/dist-packages/a/tests/server.key": PEM.decode(),
}


def wrong(tmp_path: Path, *layers: dict[str, str] | Files) -> list[str]:
    """What the check says of these layers."""
    files: list[Files] = [{path: text.encode() if isinstance(text, str) else text for path, text in one.items()} for one in layers]
    found = IDENTITY.look(read(tmp_path, files))
    assert isinstance(found, list)
    return found


def test_a_file_that_keeps_a_secret_is_named_and_one_that_keeps_none_is_not(tmp_path: Path) -> None:
    assert wrong(tmp_path, HELD) == [f"{path} holds a password or a token" for path in sorted(HELD)]
    assert wrong(tmp_path, EMPTY) == []


def test_what_a_later_layer_deletes_or_replaces_is_still_there(tmp_path: Path) -> None:
    lower: Files = {
        "/root/id_rsa": PEM,
        "/var/lib/dkms/mok.key": PEM,
        "/etc/ssh/ssh_host_rsa_key": PEM,
        "/etc/a/b.pem": PEM,
        "/root/.netrc": LOGIN.encode(),
    }
    upper: Files = {
        "/root/.wh.id_rsa": b"",
        "/var/lib/.wh.dkms": b"",
        "/etc/ssh/.wh.ssh_host_rsa_key": b"",
        "/etc/a/b.pem": b"-",
        "/root/.netrc": b"#",
    }
    keys = ("/etc/a/b.pem", "/root/id_rsa", "/var/lib/dkms/mok.key")
    expected = [f"{path} is a private key, in a lower layer" for path in keys] + [
        "/root/.netrc holds a password or a token, in a lower layer"
    ]
    assert wrong(tmp_path, lower, upper) == expected
    again = read(tmp_path, [upper], read(tmp_path, [lower]))  # a base that was read before counts as much
    assert IDENTITY.look(again) == expected


def test_keys_of_every_kind_are_known_and_certificates_are_none(tmp_path: Path) -> None:
    made = {
        "rsa.der": "openssl genrsa -traditional 2048 | openssl rsa -traditional -outform DER",
        "rsa8.der": "openssl genpkey -algorithm rsa -outform DER",
        "ec.der": "openssl ecparam -genkey -name prime256v1 -noout -outform DER",
        "ec8.der": "openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384 -outform DER",
        "ed.der": "openssl genpkey -algorithm ed25519 -outform DER",
        "key.pem": "openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c.pem -subj /CN=a && cat k",
        "both.p12": "openssl pkcs12 -export -inkey k -in c.pem -passout pass:",
        "trust.p12": "openssl pkcs12 -export -nokeys -in c.pem -passout pass:",
        "c.der": "openssl x509 -in c.pem -outform DER",
        "public.der": "openssl pkey -in k -pubout -outform DER",
    }
    files = {
        f"/etc/keys/{name}": subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True, capture_output=True).stdout
        for name, line in made.items()
    }
    assert all(files.values())
    none = {"trust.p12", "c.der", "public.der"}
    assert read(tmp_path, [files]).keys == tuple(sorted(f"/etc/keys/{name}" for name in made.keys() - none))


@pytest.mark.parametrize(
    ("environment", "history", "said"),
    [
        ({"HF_TOKEN": TOKEN}, (), "the variable HF_TOKEN holds a secret"),
        ({"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, (), "the variable AWS_SECRET_ACCESS_KEY"),
        ({"PIP_INDEX_URL": "https://u:secret@a.example/simple"}, (), "the variable PIP_INDEX_URL"),
        ({}, ("a", 'RUN curl -H "Authorization: Bearer ghp_' + "a" * 36 + '" https://x'), "command 2 of its history"),
        ({}, ("|1 NPM_TOKEN=0123456789abcdef0123 /bin/sh -c npm i",), "command 1 of its history"),
        ({"GPG_KEY": "7169605F62C751356D054A26A821E680E5FA6305", "PYTHON_SHA256": "0" * 64}, (), ""),
        (
            {"HF_TOKEN": "", "SECRET_FILE": "/run/secrets/a1b2c3d4e5f6a7b8", "DB_PASSWORD": "postgres", "HF_TOKEN_PATH": "/root/token"},
            (),
            "",
        ),
        ({}, ('RUN curl -H "Authorization: Bearer $TOKEN" https://x', "ENV API_KEY=/run/secrets/key0123456789", "ARG TOKEN"), ""),
    ],
)
def test_settings_and_history_are_read(environment: dict[str, str], history: tuple[str, ...], said: str) -> None:
    finding = credentials.settings(environment.items(), history)
    assert finding.outcome is (Outcome.NO if said else Outcome.YES), finding.message
    assert said in finding.message
    assert TOKEN not in finding.message


def test_nothing_is_no_secret() -> None:
    assert list(credentials.kept(Filesystem(entries={}, texts={}))) == []
