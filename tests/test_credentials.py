"""Secrets in images: in files, in layers below, in settings and history; and what looks like one and is none."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import elf_samples
import pytest
from images_read import PEM, Files, read

from aistack.compose import credentials
from aistack.compose.findings import Outcome
from aistack.compose.tidy import TIDY
from aistack.facts.filesystem import Filesystem
from aistack.host.layers import Entry

(IDENTITY,) = (check for check in TIDY if check.name == "no-identity")
TOKEN = "hf_" + "a1B2" * 9
HEX = "9f86d081e4cd884c7d659a2f"
WIREGUARD = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
ESCAPED = b'{"type": "service_account", "private_key": "' + PEM.strip().replace(b"\n", b"\\n") + b'\\n"}'
LOGIN = "machine a.example login u password p\n"

HELD = {
    "/etc/apt/auth.conf": LOGIN,
    "/etc/apt/auth.conf.d/a.conf": LOGIN,
    "/root/.netrc": "machine a.example\nlogin u\npassword p\n",
    "/etc/pip.conf": "[global]\nindex-url = https://u:hunter@a.example/simple\n",
    "/root/.pypirc": "[pypi]\nusername = u\npassword = x\n",
    "/root/.kube/config": "users:\n- name: a\n  user:\n    token: abc\n",
    "/root/.cache/huggingface/token": "hf_abc",
    "/home/a/.config/huggingface/token": "hf_abc",
    "/root/.bash_history": f"export HF_TOKEN={TOKEN}\n",
    "/etc/app.env": f"AWS_SECRET_ACCESS_KEY={HEX}\n",
    "/root/.aws/credentials": "[default]\naws_secret_access_key = x\n",
    "/etc/systemd/system/a.service.d/token.conf": f"[Service]\nEnvironment=HF_TOKEN={TOKEN}\n",
    "/usr/lib/systemd/system/a.service": f"[Service]\nExecStart=/usr/bin/a --key={TOKEN}\n",
    "/usr/share/containers/systemd/a.container": f'[Container]\nEnvironment="HF_TOKEN={TOKEN}" A=b\n',
    "/etc/containers/systemd/a.container.d/a.conf": f"[Container]\nEnvironment=DB_PASSWORD={HEX}\n",
    "/etc/environment": f"HF_TOKEN={TOKEN}\n",
    "/etc/environment.d/a.conf": f"WANDB_API_KEY={HEX}\n",
    "/etc/default/a": f"AWS_SECRET_ACCESS_KEY={HEX}\n",
    "/etc/profile.d/a.sh": f"export HF_TOKEN='{TOKEN}'\n",
    "/etc/profile.d/proxy.sh": "export https_proxy=http://u:hunter2@proxy.example:3128\n",
    "/root/.bashrc": f"export HF_TOKEN={TOKEN}\n",
    "/etc/apt/sources.list.d/a.sources": "Types: deb\nURIs: https://u:hunter@a.example/debian\n",
    "/etc/apt/sources.list": "deb [arch=amd64] https://u:hunter@a.example/debian trixie main\n",
    "/etc/apt/apt.conf.d/90proxy": 'Acquire::http::Proxy "http://u:hunter@proxy.example:3128";\n',
    "/etc/yum.repos.d/a.repo": "[a]\nbaseurl=https://u:hunter@a.example/\n",
    "/etc/yum.repos.d/b.repo": "[b]\nbaseurl=https://a.example/\npassword=hunter\n",
    "/etc/uv/uv.toml": 'index-url = "https://u:hunter@a.example/simple"\n',
    "/opt/src/.git/config": f"[remote]\nurl = https://x-access-token:{TOKEN}@a.example/a.git\n",
    "/root/.npmrc": f"//registry.example/:_authToken={HEX}\n",
    "/etc/kubernetes/admin.conf": "users:\n- user:\n    client-key-data: LS0tLS1CRUdJTg==\n",
    "/etc/kubernetes/kubelet.conf": '{"users": [{"user": {"token": "abc.def"}}]}',
    "/etc/wireguard/wg0.conf": f"[Interface]\nPrivateKey = {WIREGUARD}\n",
    "/etc/wireguard/private.key": f"{WIREGUARD}\n",
    "/etc/systemd/network/wg0.netdev": f"[WireGuard]\nPrivateKey={WIREGUARD}\n",
    "/etc/munge/munge.key": "\x01\x93 any bytes at all",
    "/etc/slurm/jwt_hs256.key": "\x01\x93 any bytes at all",
    "/var/spool/slurmctld/jwt_hs256.key": "\x01\x93 any bytes at all",
    "/usr/lib/bootc/kargs.d/90-a.toml": f'kargs = ["quiet", "systemd.set_credential=app:{TOKEN}"]\n',
    "/usr/lib/bootc/kargs.d/91-b.toml": 'kargs = ["systemd.set_credential=hub-token:hunter22"]\n',
    "/usr/lib/bootc/kargs.d/92-c.toml": 'kargs = ["rd.iscsi.password=hunter22"]\n',
    "/etc/kernel/cmdline": f"quiet HF_TOKEN={TOKEN}\n",
    "/etc/credstore/app": f"{TOKEN}\n",
    "/usr/lib/credstore/hub-token": "any secret\n",
    "/etc/systemd/system/b.service": "[Service]\nSetCredential=db.password:hunter22\n",
    "/etc/NetworkManager/system-connections/w.nmconnection": "[wifi-security]\nkey-mgmt=wpa-psk\npsk=hunter22\n",
    "/etc/netplan/50.yaml": "network:\n  wifis:\n    w:\n      access-points:\n        a:\n          password: hunter22\n",
    "/etc/wpa_supplicant/w.conf": 'network={\n\tssid="a"\n\tpsk="hunter22"\n}\n',
    "/var/lib/iwd/a.psk": "[Security]\nPassphrase=hunter22\n",
    "/etc/ppp/chap-secrets": "# client server secret\nu * hunter22 *\n",
    "/etc/cloud/cloud.cfg.d/99.cfg": "chpasswd:\n  expire: False\n  list: |\n    root:hunter22\n",
    "/etc/cloud/cloud.cfg.d/98.cfg": "users:\n- name: a\n  lock_passwd: false\n  passwd: $6$abc$abcdefghijkl\n",
    "/var/lib/cloud/seed/nocloud/user-data": "#cloud-config\npassword: hunter22\n",
    "/etc/rancher/k3s/config.yaml": "server: https://a:6443\ntoken: K10abc::server:def\n",
    "/var/lib/rancher/k3s/server/node-token": "K10abc::server:def\n",
    "/etc/sssd/sssd.conf": "[domain/a]\nldap_default_authtok = hunter22\n",
    "/etc/nslcd.conf": "binddn cn=a\nbindpw hunter22\n",
    "/root/.ngc/config": "[CURRENT]\napikey = nvapi-abc\n",
    "/root/.config/rclone/rclone.conf": "[s3]\nsecret_access_key = hunter22\n",
    "/etc/rclone.conf": '[d]\ntoken = {"access_token":"ya29.a0","token_type":"Bearer"}\n',
    "/root/.kaggle/kaggle.json": f'{{"username":"a","key":"{HEX}"}}',
    "/root/.config/gh/hosts.yml": "github.com:\n    oauth_token: gho_abc\n",
    "/root/.azure/msal_token_cache.json": '{"RefreshToken": {"a": {"secret": "0.AX"}}}',
    "/root/.config/gcloud/application_default_credentials.json": '{"refresh_token": "1//0gx"}',
}
EMPTY = {
    "/etc/apt/auth.conf": f"# {LOGIN}",
    "/root/.docker/config.json": '{"auths": {}, "credHelpers": {"a.example": "b"}}',
    "/etc/pip.conf": "[global]\n# https://u:secret@a.example\nindex-url = https://a.example:8080/simple/@x\nextra = https://${USER}:${PASS}@a.example\n",
    "/root/.pypirc": "[pypi]\nusername = __token__\npassword =\nrepository = https://a.example\n",
    "/root/.netrc": "machine a.example login u password <token>\n",
    "/root/.kube/config": 'users:\n- name: a\n  user:\n    token: ""\n    password: ${PASSWORD}\n',
    "/root/.aws/credentials": "[default]\naws_secret_access_key =\naws_session_token = changeme\n",
    "/root/.cache/huggingface/token": "hf_xxxxxxxx",
    "/root/.bash_history": "export HF_TOKEN=$(cat token)\n",
    "/etc/app.env": "HF_TOKEN=\nMAX_TOKEN=4096\nTOKEN_FILE=/run/secrets/token\n",
    "/etc/systemd/system/a.service": "[Service]\nEnvironment=HF_TOKEN=${TOKEN} API_KEY=%d/api-key-0123456789 HF_TOKEN_FILE=/run/hf1\n",
    "/usr/lib/systemd/system/b.service": f"[Service]\n# Environment=HF_TOKEN={TOKEN}\nLoadCredential=HF_TOKEN:/etc/credstore/hf_token1\n",
    "/etc/containers/systemd/a.container": "[Container]\nEnvironment=HF_TOKEN=\nSecret=hf_token,type=env,target=HF_TOKEN\n",
    "/etc/environment": "PATH=/usr/bin\nHF_TOKEN=hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    "/etc/default/a": "# API_KEY=0123456789abcdef0123\nAPI_KEY=<your-api-key-of-2024>\nDB_PASSWORD=changeme1234\n",
    "/etc/profile.d/a.sh": "export HF_TOKEN=$(cat /run/secrets/hf-token-2024)\nexport http_proxy=http://$USER:$PASS@proxy:3128\n",
    "/etc/apt/sources.list.d/a.list": "# deb https://u:hunter@a.example/ ./\ndeb https://a.example:8443/debian@1 ./\n",
    "/etc/apt/apt.conf.d/90proxy": '// Acquire::http::Proxy "http://u:hunter@proxy:3128";\nAcquire::http::Proxy "http://proxy:3128";\n',
    "/etc/yum.repos.d/a.repo": "[a]\nbaseurl=https://a.example/\npassword=\nproxy_password=$PROXY\n",
    "/root/.npmrc": "//registry.example/:_authToken=${NPM_TOKEN}\n//other.example/:_password=\n",
    "/etc/kubernetes/admin.conf": "users:\n- user:\n    client-certificate-data: LS0tLS1CRUdJTg==\n    tokenFile: /run/a\n    token: ''\n",
    "/etc/wireguard/wg0.conf": f"[Interface]\nPrivateKey =\nPostUp = wg set %i private-key /run/key\n[Peer]\nPublicKey = {WIREGUARD}\n",
    "/etc/wireguard/public.key": f"{WIREGUARD}\n",
    "/etc/munge/munge.key": "",
    "/etc/slurm/jwks.pub.key": "any",
    "/usr/lib/bootc/kargs.d/90-a.toml": 'kargs = ["quiet", "systemd.set_credential=firstboot.locale:C.UTF-8", "root=UUID=1-2"]\n',
    "/usr/lib/bootc/kargs.d/91-a.toml": '# systemd.set_credential=hub-token:hunter22\nkargs = ["rd.iscsi.password="]\n',
    "/etc/credstore/network.dns": "9.9.9.9\n",
    "/etc/credstore/ssh.authorized_keys.root": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5b a@b\n",
    "/usr/lib/credstore/hub-token": "changeme\n",
    "/usr/lib/credstore.encrypted/hub-token": "DHzAexF2RZGcSwvqCLwg/iAAAAABAAAADAAAABAAAAASwZ\n",
    "/etc/systemd/system/c.service": "[Service]\nSetCredential=db.password:\nLoadCredential=token:/etc/credstore/token\n",
    "/etc/NetworkManager/system-connections/w.nmconnection": "[wifi-security]\npsk-flags=1\npsk=\n",
    "/etc/cloud/cloud.cfg": "system_info:\n  default_user:\n    lock_passwd: True\n    passwd: $PASSWORD\nssh_pwauth: false\n",
    "/etc/cloud/cloud.cfg.d/99.cfg": "chpasswd:\n  expire: False\n  users:\n  - name: root\n    type: RANDOM\n  list:\n  - a:R\n",
    "/etc/cloud/cloud.cfg.d/98.cfg": "users:\n- name: a\n  passwd: '!!'\n",
    "/etc/rancher/k3s/config.yaml": "#token: K10abc\ntoken-file: /etc/token\nwrite-kubeconfig-mode: '0600'\n",
    "/etc/sssd/sssd.conf": "[domain/a]\nldap_default_authtok_type = password\nldap_default_authtok =\n",
    "/etc/wpa_supplicant/w.conf": 'network={\n\tssid="a"\n\tkey_mgmt=NONE\n}\n',
    "/etc/ppp/chap-secrets": "# Secrets for authentication using CHAP\n# client\tserver\tsecret\tIP addresses\n",
    "/etc/ldap/ldap.conf": "#BASE dc=a\nTLS_CACERT /etc/ssl/certs/ca-certificates.crt\n",
    "/root/.config/rclone/rclone.conf": "[s3]\ntype = s3\nenv_auth = true\nsecret_access_key =\nask_password = true\n",
    "/root/.kaggle/kaggle.json": '{"username":"a","key":"<key>"}',
    "/usr/share/doc/a/examples/wg/.npmrc": f"//registry.example/:_authToken={HEX}\n",
    "/usr/share/doc/a/examples/server.key": PEM.decode(),
    "/usr/share/ovmf/PkKek-1-snakeoil.key": PEM.decode(),
    "/usr/share/doc/a/service.json": ESCAPED.decode(),
    "/usr/lib/python3/dist-packages/a/tests/server.key": PEM.decode(),
}


def wrong(tmp_path: Path, *layers: Mapping[str, bytes | Entry | str]) -> list[str]:
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


def test_what_the_initramfs_holds_counts(tmp_path: Path) -> None:
    image = "/usr/lib/modules/6.1.0/initramfs.img"
    holds = {"etc/dropbear/key.pem": PEM, "root/.netrc": LOGIN.encode(), "etc/ssh/ssh_host_rsa_key": b"-", "usr/share/doc/a.pem": PEM}
    assert wrong(tmp_path, {image: elf_samples.initramfs(holds)}) == [
        f"{image}: /etc/dropbear/key.pem is a private key",
        f"{image}: /root/.netrc holds a password or a token",
        f"{image}: /etc/ssh/ssh_host_rsa_key is a secret, or one machine's",
    ]
    assert wrong(tmp_path, {image: elf_samples.initramfs({"etc/ssl/ca.pem": b"-----BEGIN CERTIFICATE-----\nMIIE\n"})}) == []


@pytest.mark.parametrize("place", ["/var/lib/dkms/mok.key", "/etc/dkms/mok.key", "/usr/lib/dkms/mok.key", "/root/.gnupg/secring.gpg"])
def test_keys_that_are_known_by_their_place(place: str, tmp_path: Path) -> None:
    assert wrong(tmp_path, {place: "any bytes"}) == [f"{place} is a secret, or one machine's"]
    assert wrong(tmp_path, {place: ""}) == []


def test_a_key_that_a_package_made_and_a_later_layer_deletes_is_nobodys(tmp_path: Path) -> None:
    assert wrong(tmp_path, {"/etc/munge/munge.key": "any bytes"}, {"/etc/munge/.wh.munge.key": b""}) == []
    slurm = {"/etc/slurm/jwt_hs256.key": "any bytes"}, {"/etc/slurm/.wh.jwt_hs256.key": b""}
    assert wrong(tmp_path, *slurm) == ["/etc/slurm/jwt_hs256.key holds a password or a token, in a lower layer"]


def test_keys_of_every_kind_are_known_and_certificates_are_none(tmp_path: Path) -> None:
    made = {
        "rsa.der": "openssl genrsa -traditional 2048 | openssl rsa -traditional -outform DER",
        "rsa8.der": "openssl genpkey -algorithm rsa -outform DER",
        "ec.der": "openssl ecparam -genkey -name prime256v1 -noout -outform DER",
        "ec8.der": "openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384 -outform DER",
        "encrypted.der": "openssl genpkey -algorithm rsa | openssl pkcs8 -topk8 -v2 aes256 -passout pass:a -outform DER",
        "older.der": "openssl genpkey -algorithm ed25519 | openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -passout pass:a -outform DER",
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
    key, certificate, public = files["/etc/keys/key.pem"], (tmp_path / "c.pem").read_bytes(), files["/etc/keys/public.der"]
    numbers = b"lQVYBGZ0AAABDAC7" * 3
    armour = b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n%s\n" + numbers + b"\n=aaaa\n-----END PGP PRIVATE KEY BLOCK-----\n"
    indented = b"".join(b"    " + line for line in key.splitlines(keepends=True))
    files |= {
        "/etc/keys/escaped.json": json.dumps({"type": "service_account", "private_key": key.decode()}).encode(),
        "/etc/keys/crlf.json": json.dumps({"key": key.decode().replace("\n", "\r\n")}).encode(),
        "/etc/keys/indented.yaml": b"tls:\n  key: |\n" + indented,
        "/etc/keys/large.pem": certificate * 100 + key,
        "/etc/keys/cosign.key": PEM.replace(b"PRIVATE", b"ENCRYPTED COSIGN PRIVATE").replace(b"MC4CAQAw", b"eyJrZGYi"),
        "/etc/keys/armour.asc": armour % b"",
        "/etc/keys/version.asc": armour % b"Version: GnuPG v2\n",
    }
    nothing = {
        "/etc/keys/public.asc": armour.replace(b"PRIVATE", b"PUBLIC") % b"",
        "/etc/keys/large-certificates.pem": certificate * 100,
        "/etc/keys/empty.json": b'{"private_key": "-----BEGIN PRIVATE KEY-----\\n-----END PRIVATE KEY-----"}',
        "/etc/keys/variable.yaml": b"key: |\n  -----BEGIN PRIVATE KEY-----\n  ${KEY}\n  -----END PRIVATE KEY-----\n",
        "/etc/keys/left-out.py": PEM.replace(b"MEBQYH", b"MEBQYH\n...\n"),
        "/etc/keys/beginning.md": PEM.replace(b"GhscHR4f", b""),
        "/etc/keys/short.md": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "/etc/keys/words.py": b'BEGIN = "-----BEGIN RSA PRIVATE KEY-----"\nPGP = "-----BEGIN PGP PRIVATE KEY BLOCK-----"\n',
        "/etc/keys/program": b"\0" * 70000 + key,
        "/etc/keys/longer.der": public + b"\0",
    }
    none = {"trust.p12", "c.der", "public.der"}
    made |= dict.fromkeys((path.rpartition("/")[2] for path in files), "")
    files |= nothing
    assert read(tmp_path, [files]).keys == tuple(sorted(f"/etc/keys/{name}" for name in made.keys() - none))


def test_a_key_that_a_program_of_a_package_shows_is_everybodys(tmp_path: Path) -> None:
    """As cloud-init's and ansible's modules show them, which Python compiles when they are installed."""
    module, folder = b'EXAMPLES = """\n' + PEM + b'"""\n', "/usr/lib/python3/dist-packages/a"
    sums = "".join(
        f"{hashlib.md5(data).hexdigest()}  {folder[1:]}/{name}\n" for name, data in (("a.py", module), ("b.py", b""), ("a.key", PEM))
    )
    files: Files = {
        "/var/lib/dpkg/info/a.md5sums": sums.encode(),
        f"{folder}/a.py": module,
        f"{folder}/__pycache__/a.cpython-313.pyc": b"\0" + PEM,
        f"{folder}/b.py": module,
        f"{folder}/__pycache__/b.cpython-313.pyc": b"\0" + PEM,
        f"{folder}/a.key": PEM,
    }
    changed = ("__pycache__/b.cpython-313.pyc", "a.key", "b.py")
    assert wrong(tmp_path, files) == [f"{folder}/{name} is a private key" for name in changed]
    own = {f"{folder}/a.py": b"#"}, {f"{folder}/__pycache__/a.cpython-313.pyc": b"#"}
    assert f"{folder}/a.py is a private key, in a lower layer" in wrong(tmp_path, files, *own)


SETTINGS = [
    f"HF_TOKEN={TOKEN}",
    f"HUGGING_FACE_HUB_TOKEN='{TOKEN}'",
    f"AWS_SECRET_ACCESS_KEY=wJ/{HEX}+w",
    f"WANDB_API_KEY={HEX}",
    f"NGC_API_KEY=nvapi-{HEX}_{HEX}",
    f"OPENAI_KEY=sk-proj-{HEX}{HEX}",
    f"DJANGO_SECRET_KEY=django-insecure-{HEX}",
    f"SECRET_KEY_BASE={HEX}",
    f"JWT_SECRET={HEX}",
    "POSTGRES_PASSWORD=Pg-4711-xy",
    "MYSQL_ROOT_PASSWORD=hunter42",
    "PIP_INDEX_URL=https://u:hunter@a.example/simple",
    "PIP_EXTRA_INDEX_URL=https://${USER}:hunter@a.example/simple",
    "DATABASE_URL=postgresql://app:Pg-4711@db:5432/app",
    "REDIS_URL=redis://:Pg-4711@redis:6379/0",
    f"DEPLOY_KEY=-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjEA{HEX}",
]
"""Variables with a secret in them."""
NO_SETTINGS = [
    # What the images of Python, PHP, RabbitMQ, Tomcat, Node, CUDA, vLLM and PostgreSQL set.
    "GPG_KEY=7169605F62C751356D054A26A821E680E5FA6305",
    "GPG_KEYS=BFDDD28642824F8118EF77909B67A5C12229118F 2C16C765DBE54A088130F1BC4B9B5F600B55F3B4",
    "RABBITMQ_PGP_KEY_ID=0x0A9AF2115F4687BD29803A206B73A36E6026DFCA",
    "PYTHON_SHA256=24887b92e2afd4a2ac602419ad4b596372f67ac9b077190f459aba390faf5550",
    "YARN_VERSION=1.22.22",
    "NVIDIA_REQUIRE_CUDA=cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=535,driver<536",
    "NV_LIBNCCL_PACKAGE=libnccl2=2.21.5-1+cuda12.4",
    "VLLM_USAGE_SOURCE=production-docker-image",
    "TOKENIZERS_PARALLELISM=false",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN=1",
    "PGDATA=/var/lib/postgresql/data",
    # What only sounds like a secret.
    "MAX_TOKENS=4096",
    "MAX_NUM_BATCHED_TOKENS=1234567890123456a",
    "EOS_TOKEN=<|reserved_special_token_250|>",
    "SSH_PORT=22",
    "KEYBOARD=pc105-us-international-2024",
    "PUBLIC_KEY=/etc/keys/id_ed25519_2024.pub",
    "NEXT_PUBLIC_MAPS_API_KEY=phc-" + HEX,
    "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
    "TOKEN_ENDPOINT=https://id.a.example/oauth2/v1/token",
    "MIRROR=http://a.example:8080/@scope/package",
    # What says where a secret comes from.
    "HF_TOKEN=",
    "HF_TOKEN=none",
    "HF_TOKEN_PATH=/root/.cache/huggingface/token",
    "API_TOKEN=/run/secrets/api-token-2024",
    "API_TOKEN=~/.config/tokens/2024-api-token",
    "API_TOKEN=file:///run/secrets/api-token-1",
    "SECRET_FILE=/run/secrets/a1b2c3d4e5f6a7b8",
    "POSTGRES_PASSWORD_FILE=/run/secrets/db-password-1",
    "TLS_PRIVATE_KEY=certs/server-2024-rsa4096.pem",
    "DB_PASSWORD=projects/a1/secrets/db-password/versions/2",
    "DB_PASSWORD=arn:aws:secretsmanager:eu-central-1:123456:secret:db",
    "API_KEY=${API_KEY_2024}",
    "API_KEY=$API_KEY_OF_STAGE_2",
    "API_KEY={{ .Values.api.key2024 }}",
    "API_KEY={{.Values.secrets.key2024}}",
    "API_KEY=%API_KEY_OF_STAGE_2%",
    "API_KEY=__API_KEY_OF_STAGE_2__",
    "PIP_INDEX_URL=https://__token__:${PIP_TOKEN}@a.example/simple",
    "PIP_INDEX_URL=https://user:<token>@a.example/simple",
    "PIP_INDEX_URL=https://user:{token}@a.example/simple",
    # What everybody writes there.
    "DB_PASSWORD=postgres",
    "ELASTIC_PASSWORD=changeme",
    "ELASTIC_PASSWORD=change-me-1",
    "KEYSTORE_PASSWORD=changeit1",
    "MYSQL_ROOT_PASSWORD=Passw0rd!",
    "MYSQL_ROOT_PASSWORD=password1",
    "SA_PASSWORD=yourStrong(!)Password",
    "API_KEY=your-api-key-goes-here-1",
    "API_KEY=<your-api-key-of-2024>",
    "API_KEY=replace_with_your_key_1",
    "HF_TOKEN=hf_" + "x" * 34,
    "GITHUB_TOKEN=ghp_" + "0" * 36,
    "OPENAI_API_KEY=sk-1234567890abcdef1234567890abcdef",
    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "DATABASE_URL=postgresql://postgres:postgres@db:5432/app",
    "DATABASE_URL=mysql://app:password@db/app",
    "AMQP_URL=amqp://guest:guest@rabbitmq:5672",
    "GIT_URL=https://x-access-token:xxx@a.example/a.git",
]
"""Variables without one."""


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_secret_in_a_variable_or_in_the_history_is_told_and_never_shown(setting: str) -> None:
    name, _, value = setting.partition("=")
    found = [credentials.settings([(name, value)], ()), credentials.settings((), ("a", f"/bin/sh -c #(nop)  ENV {setting}"))]
    assert [finding.outcome for finding in found] == [Outcome.NO, Outcome.NO]
    assert [finding.message for finding in found] == [f"the variable {name} holds a secret", "command 2 of its history holds a secret"]


@pytest.mark.parametrize("setting", NO_SETTINGS)
def test_what_only_looks_like_a_secret_is_none(setting: str) -> None:
    name, _, value = setting.partition("=")
    finding = credentials.settings([(name, value)], (f"/bin/sh -c #(nop)  ENV {setting}", f"|1 {setting} /bin/sh -c true"))
    assert finding.outcome is Outcome.YES, finding.message


@pytest.mark.parametrize(
    ("command", "secret"),
    [
        (f'RUN curl -H "Authorization: Bearer ghp_{HEX}{HEX[:12]}" https://x', True),
        (f"|1 NPM_TOKEN={HEX} /bin/sh -c npm i", True),
        (f"RUN pip config set global.index-url https://u:{HEX}@a.example/simple", True),
        (f"RUN HF_TOKEN=changeme HF_TOKEN={TOKEN} fetch", True),
        ('RUN curl -H "Authorization: Bearer $TOKEN" https://x', False),
        ("RUN curl -H 'Authorization: Bearer your_access_token_2024_here' https://x", False),
        ("ENV API_KEY=/run/secrets/key0123456789", False),
        ("ARG TOKEN", False),
        ("RUN --mount=type=secret,id=HF_TOKEN HF_TOKEN=$(cat /run/secrets/HF_TOKEN) fetch", False),
        ('RUN test -n "${API_KEY:?set it before 2024-01-01}"', False),
        ('RUN gpg --batch --keyserver hkps://keys.openpgp.org --recv-keys "$GPG_KEY"', False),
        ("RUN pip install tokenizers==0.21.1 'scikit-learn-intelex==2025.0.1'", False),
    ],
)
def test_commands_of_the_history_are_read(command: str, secret: bool) -> None:
    assert credentials.settings((), (command,)).outcome is (Outcome.NO if secret else Outcome.YES)


def test_nothing_is_no_secret() -> None:
    assert list(credentials.kept(Filesystem(entries={}, texts={}))) == []


def test_long_files_without_a_secret_are_read_to_their_end() -> None:
    lines = (
        "chpasswd:",
        *("    - expire  ",) * 2000,
        "    password =   ",
        *("token token-token_token   ",) * 2000,
        "set_credential=" + "a-token" * 2000,
    )
    text = "\n".join(lines)
    forms = {form for _, kept in credentials.KEPT for form in kept}
    assert [form.pattern for form in forms if (found := form.search(text)) and not found["value"]] == []
