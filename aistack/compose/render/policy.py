"""Whose system images a node takes: containers-policy.json(5), and containers-registries.d(5) for where their signatures lie.

Signed is the system image alone; what it binds is named in it by digest. The policy lies below /usr, where nobody changes it: a file of
/etc that was changed once stays through every update, and no later image's key or policy would ever count.
"""

from __future__ import annotations

import json

from aistack.facts.files import Rendered, RenderedFile, RenderedLink

POLICY = "/usr/lib/aistack/policy.json"
"""What an update is held to, whatever /etc says."""
KEY = "/usr/lib/aistack/release.pub"
LINK = "/etc/containers/policy.json"
"""Where skopeo and podman look that somebody starts by hand; he may put another file there."""
ATTACHMENTS = "/etc/containers/registries.d/aistack.yaml"

SIGNATURES = "default-docker:\n  use-sigstore-attachments: true\n"
"""The words of registries.d that let signatures lie in the image's own repository, beside it."""


def render_policy(key: str) -> tuple[Rendered, ...]:
    """The files that refuse every image of a registry unless `key`, the text of a public sigstore key, signed it.

    Of every registry, since a node may be told to follow another one. What a system image binds needs no signature of its own: the signed
    image names its digests. A signature is for a digest in a repository, under whatever tag: another tag for an image signs nothing anew.
    """
    signed = {"type": "sigstoreSigned", "keyPath": KEY, "signedIdentity": {"type": "matchRepository"}}
    policy = {"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {"": [signed]}}}
    texts = {POLICY: json.dumps(policy, indent=2) + "\n", ATTACHMENTS: SIGNATURES, KEY: key}
    files = (RenderedFile(path=path, content=text.encode()) for path, text in texts.items())
    return (*files, RenderedLink(path=LINK, target=f"../..{POLICY}"))
