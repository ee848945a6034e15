"""Whose system images a node takes: containers-policy.json(5), and containers-registries.d(5) for where their signatures lie.

Signed is the system image alone; what it binds is named in it by digest.
"""

from __future__ import annotations

import json

from aistack.facts.files import Rendered, RenderedFile

POLICY = "/etc/containers/policy.json"
ATTACHMENTS = "/etc/containers/registries.d/aistack.yaml"
KEY = "/etc/containers/aistack.pub"


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
    return tuple(RenderedFile(path=path, content=text.encode()) for path, text in texts.items())
