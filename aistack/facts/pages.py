"""Explanation pages of the codes that no rule owns: reading files, finding tools, fetching, building, the command line.

Rules of the catalog and of compose explain themselves. A test compares this table with the codes that stand in the source.
"""

from __future__ import annotations

from aistack.values import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """What `aistack explain CODE` says; the first line of `text` is the summary."""

    code: str
    name: str
    text: str


READING = (
    Page(
        "DOC001",
        "yaml-syntax",
        """The text is not YAML.
The place is where the parser gave up; the mistake often stands a little before it: a bracket or a quote that is not closed,
a tab in the indentation, a missing space after a colon. Nothing else is judged until the text can be read.""",
    ),
    Page("DOC002", "yaml-empty", "The file holds nothing but white space and comments."),
    Page(
        "DOC003",
        "yaml-duplicate-key",
        """A key stands twice in one mapping.
YAML readers differ in which of the two they take, so neither is taken.""",
    ),
    Page(
        "DOC004",
        "yaml-anchor",
        """Anchors, aliases and merge keys are not used.
A file is understood alone, line by line; a value that is meant twice is written twice.""",
    ),
    Page(
        "DOC005",
        "yaml-tag",
        """Tags such as `!!str` are not used.
Values are read as the text that was written: `12.10` stays `12.10` and `on` stays `on`, so there is nothing to force.""",
    ),
    Page("DOC006", "yaml-documents", "A file holds one document; a second `---` line begins another."),
    Page("DOC007", "yaml-key", "A key is one word, not a list or a mapping."),
    Page(
        "DOC008",
        "yaml-size",
        """The file is larger than any file of ours could be.
It is refused before it is read whole, so that a wrong path costs no memory.""",
    ),
    Page(
        "DOC009",
        "yaml-character",
        """The text holds a character that YAML does not allow, or that YAML takes for a line end and editors do not.
A file that was saved in another encoding than UTF-8, or that is no text at all, often shows itself so.""",
    ),
    Page("DOC010", "yaml-depth", "Lists and mappings stand deeper inside each other than in any file of ours."),
    Page("DOC011", "file-missing", "There is no file of that name."),
    Page("DOC012", "file-denied", "The file is there but cannot be opened; nothing is known about what it holds."),
    Page("DOC013", "not-utf8", "Files are read as UTF-8; a byte stands there that no UTF-8 text has."),
    Page(
        "DOC021",
        "unknown-key",
        """A key that this kind of file does not have.
Unknown keys are errors, not ignored: a misspelt key would otherwise be a wish that silently did not count.
`aistack schema KIND` prints every key with its meaning, for people and for editors.""",
    ),
    Page("DOC022", "missing-key", "A key without which the file cannot be understood is not there."),
    Page(
        "DOC023",
        "wrong-type",
        """A value of another shape is expected: one value, a list, a mapping, a number.
Numbers and `true`/`false` are written without quotes.""",
    ),
    Page("DOC025", "key-not-read", "A snapshot may hold more than the rules ask for; a key that none of them reads changes no verdict."),
    Page("DOC024", "bad-value", "The value has the right shape, but is not one that is allowed there."),
    Page(
        "REC001",
        "one-framework",
        """An app runs one framework.
`framework:` is a mapping with one entry, its name and the versions that are welcome: `framework: {vllm: ">=0.11"}`.
It may be left out where `image:` names an image that somebody else built.""",
    ),
    Page("REC002", "model-twice", "An app lists one model twice. Ids of models are compared without case, as the hub does."),
    Page("REC003", "port-twice", "Two apps want one TCP port of the node."),
    Page(
        "REC004",
        "driver-without-accelerator",
        """The recipe names a driver, but no accelerator that it would drive.
Whoever wants the driver wants a device: without `accelerator:` no check would ever look for it.""",
    ),
    Page("REC005", "port-of-ssh", "An app wants TCP port 22, where the node's own ssh listens unless `node: {ssh: none}` leaves it out."),
    Page(
        "REC006",
        "source-incomplete",
        """An entry of `sources` lacks what would make it clear.
An archive that is not the OS's own needs its address (`uri`) and its key (`signed-by`); nothing is ever trusted without a signature.""",
    ),
    Page("REC007", "source-key-unused", "An entry of `sources` says what has no meaning for its kind, and so would not count."),
    Page("REC008", "source-app-unknown", "An entry of `sources` names an app that the recipe does not have."),
    Page(
        "REC009",
        "key-unreadable",
        """The key of an archive cannot be read from the file that `signed-by` names.
The path is seen from the recipe's folder. The file holds a public OpenPGP key, armoured or not.""",
    ),
    Page("REC011", "schema-unknown", "The first key, `schema:`, says what a file is and in which version of its form."),
    Page("REC012", "stack-incomplete", "No rule speaks against the recipe, but the catalog lacks a fact without which it cannot be built."),
    Page("CLI001", "kind-unknown", "The command line names a kind of thing that there is not."),
    Page("CLI002", "page-unknown", "There is no rule or code of that name; `aistack explain` lists all."),
    Page("CLI003", "list-unknown", "`aistack list` knows accelerators, models, frameworks, os, rules and recipes."),
    Page("CLI004", "id-unknown", "The catalog has no entry of that id; `aistack list KIND` lists the ids."),
    Page("CLI005", "component-unknown", "The recipe's stack has no component of that name; the message lists those that it has."),
    Page(
        "CLI006",
        "fit-unknown",
        """What holds a model cannot be told without its size and its attention geometry.
The arithmetic needs the weights' bytes, the bytes of cache for each token and the longest request; `aistack show MODEL` shows which of
them the catalog has.""",
    ),
    Page("CLI007", "matrix-empty", "The catalog has no framework whose builds are for that accelerator, so there is nothing to judge."),
    Page("CT001", "catalog-schema", "A file in the catalog's folders begins with `schema:`, which says what it is."),
    Page("CT002", "catalog-name", "A catalog file is named after the id in it, so that each fact has one place."),
    Page("CT003", "catalog-twice", "Two data rules have one id: codes are never used twice."),
    Page("CT010", "catalog-missing", "This installation has no catalog, so nothing can be judged; it was damaged or built wrongly."),
)

LOCK = (
    Page(
        "LOCK001",
        "kernel-moved",
        """The kernel that the archive serves is not one that the recipe admits any more.
An archive keeps the newest kernel only; the lock is made from what it serves, never from what it once served.""",
    ),
    Page(
        "LOCK002",
        "release-unknown",
        """The archive serves a release that the catalog does not know yet.
The lock holds what is served. The rules judged the release that the catalog knows, so what they say may be out of date.""",
    ),
    Page("LOCK003", "lock-missing", "The recipe has no lock beside it, and this verb works from the lock alone."),
    Page(
        "LOCK004",
        "lock-unreadable",
        "The lock is damaged, was edited by hand, or was written by a version that this one does not understand. Make it anew.",
    ),
    Page("LOCK005", "lock-not-written", "A lock is written beside its recipe, and that folder or file cannot be written."),
    Page("LOCK006", "lock-needs-network", "There is no lock of this recipe as it now is, and pinning asks archives and hubs."),
    Page(
        "LOCK007",
        "lock-not-current",
        """`check --locked`: the lock beside the recipe is not the one that `lock` would make of it.
What is pinned counts as it is: a newer version in an archive is no difference. Each place that differs is named.""",
    ),
    Page(
        "LOCK008",
        "upgrade-name-unknown",
        """`lock --upgrade` names what may move: `kernel`, `driver`, `base` or another root, an app, its framework, a model, a package,
a source package, a wheel. This name is none of them in the lock that is there.""",
    ),
    Page(
        "LOCK009",
        "one-kernel",
        """A base holds exactly one kernel: bootable images have one, and modules are built for it.
Another wish or an upgrade has brought a second one, or none.""",
    ),
    Page(
        "LOCK010",
        "image-without-command",
        """An image names by its entrypoint and its command what it starts; this one does not, or takes no arguments.
The recipe's `command:` is then the whole command, its program first.""",
    ),
)

LICENCES = (
    Page(
        "LC201",
        "licence-not-admitted",
        """A package, wheel or model in the lock is under a licence that the site's list does not admit.
Of an `OR` one side is enough, of an `AND` every part must be admitted; an exception after `WITH` only adds permissions.
Admit the licence under `allow:`, or name the thing under `except:` with the reason.""",
    ),
    Page(
        "LC202",
        "licence-unread",
        """The licence of something in the lock is not known: its copyright file is prose, or its maker declares none that has one meaning.
Somebody has to read it; `except:` remembers that, with the reason.""",
    ),
    Page(
        "LC203", "licence-unknown", "A list of licences names one that SPDX does not know; ids are those of SPDX's list, or `LicenseRef-…`."
    ),
    Page("LC204", "licences-not-locked", "Licences are read when a recipe is locked, and beside this one there is no lock that fits."),
)

HOST = (
    Page("HOST001", "tool-missing", "A program that this step runs is not installed; `aistack doctor` lists all that are missing."),
    Page("HOST002", "tool-failed", "A program that was run ended badly; its own last lines stand below."),
    Page(
        "HOST004",
        "machine-refused",
        "The operating system refused: no room, no permission, a file system that is read-only, a broken disk.",
    ),
    Page("HOST003", "tool-too-slow", "A program did not end within the time that it was given, and was ended."),
    Page("HOST010", "layer-unreadable", "A layer in the store cannot be read as an archive."),
    Page(
        "HOST020",
        "no-mount-permission",
        """Throw-away roots are entered in a mount namespace of their own, which this root user may not make.
That is so in an ordinary container.""",
    ),
    Page(
        "HOST021",
        "no-user-namespace",
        """A plain user builds inside a user namespace, because a root holds files of many owners.
The kernel must allow such namespaces, and /etc/subuid and /etc/subgid must lend ids to the user.""",
    ),
    Page(
        "HOST005",
        "python-part-missing",
        """Locking and building need a few Python packages that a node does without: the extra `build`.
The hint installs them into the Python that runs aistack; `aistack doctor` shows whether they are there.""",
    ),
    Page(
        "HOST023",
        "foreign-architecture",
        """Packages are configured, and the initramfs is made, by programs of the node's own architecture.
A machine of another one runs them through an emulator that its kernel starts by itself (QEMU's user mode, registered with binfmt_misc),
many times slower. Checking and locking need none of it.""",
    ),
    Page(
        "HOST022",
        "root-lacks-program",
        """The lock names a program of the tools root, the compressor of layers for one, and the unpacked root does not have it.
A lock written by hand or for another architecture is the likely cause.""",
    ),
)

PACKAGES = (
    Page("PKG001", "apt-unreadable", "A file of this machine's apt configuration cannot be read."),
    Page(
        "PKG002",
        "no-package-source",
        """This machine's apt knows no archive of the wanted OS.
aistack names no mirror: it uses those of the build host's own apt, or those under `sources:` in the recipe.""",
    ),
    Page("PKG003", "package-lists-not-trusted", "The archive's lists have no valid signature by its key, or are too old."),
    Page("PKG004", "package-lists-unreachable", "The archive's lists could not be fetched or read."),
    Page("PKG005", "package-not-found", "No archive, or not the one that must give it, has a package of that name and version."),
    Page("PKG006", "package-not-fetched", "A locked package is not in the store, and nothing may be fetched now."),
    Page("PKG007", "package-broken", "A file in the store cannot be read as a Debian package."),
    Page("PKG008", "package-not-as-locked", "A package's own name, version or architecture is not what the lock says of it."),
    Page("PKG009", "root-differs-from-lock", "After the installation the package database does not list exactly the locked packages."),
    Page(
        "PKG010",
        "packages-conflict",
        "apt finds no set of packages in which all the wanted ones can stand together; its own words say which.",
    ),
    Page("PKG011", "package-unreachable", "A locked package could not be fetched from the archive."),
    Page(
        "PKG012",
        "package-gone",
        """The archive no longer has a locked package.
Mirrors keep the newest version only. Lock its successor, or name an archive that keeps old packages under `sources:`.""",
    ),
)

IMAGES = (
    Page("OCI001", "layer-content", "A file changed while it was written into a layer."),
    Page(
        "STO001",
        "not-a-store",
        """The folder that AISTACK_STORE names is no store and holds something else.
What lies in a store is removed when nothing needs it, so a store begins in an empty folder and is marked by a CACHEDIR.TAG.""",
    ),
    Page(
        "STO002",
        "store-damaged",
        """A file of the store is not what its name, its sha256, says: a disk, or somebody, changed it.
It is removed, and fetched or made again where that is possible; `aistack store check` reads all of them.""",
    ),
    Page("STO003", "nothing-to-push", "The store holds nothing that the recipe's lock needs: build it, in this store, first."),
    Page("STO004", "not-a-store-artifact", "There is something at the reference, but `aistack store push` did not write it."),
    Page("OCI002", "store-write", "The store's file system refused to take what was built: it is full, or read-only."),
    Page("OCI003", "not-an-image", "What was named is not an image that can be read."),
    Page("OCI004", "blob-missing", "A part of an image that was built earlier is not in the store any more."),
    Page("OCI005", "path-outside", "A member of an archive points outside the folder that it would be unpacked to."),
    Page(
        "OCI007", "image-not-brought", "skopeo could not read the image that was named, or found a part damaged; its own words stand below."
    ),
    Page("OCI006", "part-damaged", "A part of an image that was named does not have the digest by which the image names it."),
    Page("VER003", "layer-damaged", "A layer in the store no longer has the digest that names it. It was removed; a build makes it again."),
    Page(
        "VER001",
        "image-not-right",
        """A built image, read back without running it, is not what it should be: it does not hold what the lock promised,
breaks what bootable containers hold to, or carries what no image for others should. The message begins with the image and the check.""",
    ),
    Page(
        "VER002", "not-built", "There is a lock, but its images are not in this store: build them, or point AISTACK_STORE at their store."
    ),
    Page("BLD001", "step-kind-unknown", "`--only` names a kind of step; the message lists those that the recipe's plan has."),
)

DISK = (
    Page("FCT001", "no-checkout", "Refreshed facts are files to review and commit, which an installed package has no place for."),
    Page("FCT002", "nothing-to-read", "Only what has a `project` in the catalog can be read from a Python index."),
    Page(
        "REC013",
        "not-a-recipe",
        "A snapshot says what a machine has; only a recipe says what is wanted, can be explained, locked and built.",
    ),
    Page(
        "REC014",
        "schema-missing",
        """A file says in its first line, `schema:`, what it is. Without that line it is known only by its keys.
A recipe says what is wanted and begins with `schema: aistack/recipe/v1`; a snapshot says what a machine has and begins with
`schema: aistack/snapshot/v1`.""",
    ),
    Page("FIX001", "recipe-changed", "The file was written by somebody else between the judgement and the change, which was not made."),
    Page("FIX002", "recipe-not-written", "A change that would mend the recipe could not be written; the file is as it was."),
    Page("DSK001", "menu-program-missing", "The image lacks the program that writes the boot menu, so it cannot be laid down on a disk."),
    Page("DSK002", "flag-not-set", "The file system on the disk did not take the flag that keeps a deployment from being changed."),
    Page("GRB001", "environment-damaged", "The small file in which GRUB counts boots does not have its form."),
    Page("GRB002", "environment-full", "The small file in which GRUB counts boots has no room for more."),
    Page("OST001", "libostree-missing", "OSTree is used through its library, which is not there or cannot be loaded."),
    Page("OST002", "ostree-failed", "OSTree could not do what was asked; its own words stand in the message."),
    Page("OST003", "digest-not-understood", "An image is named by a digest that is not sha256."),
    Page("OST004", "layout-blob-missing", "A part of the image that is being imported is not there."),
    Page("OST005", "blob-damaged", "The bytes of a part do not have the digest by which they are named."),
    Page("OST006", "layer-type-unknown", "A layer is packed in a way that this version cannot read."),
    Page("OST007", "hard-link-broken", "A hard link in a layer points to something that the layer does not hold."),
    Page("OST010", "kargs-not-understood", "A file of kernel arguments in the image cannot be read."),
    Page("OST011", "deployment-not-on-disk", "No deployment on the disk has that name."),
    Page(
        "QEM002", "architecture-not-booted", "Boot tests start a virtual amd64 machine; nodes of other architectures are built, not booted."
    ),
    Page("QEM001", "firmware-missing", "QEMU boots by UEFI with a firmware file that is not installed."),
)

NODE = (
    Page("NODE001", "state-unreadable", "What this node remembers of its deployments cannot be read."),
    Page("NODE002", "state-damaged", "What this node remembers of its deployments does not have its form; nothing is decided on a guess."),
    Page("NODE003", "deployment-missing", "A decision names a deployment that this node does not have."),
    Page("NODE004", "bound-images-unreadable", "The store of images that the system brought along cannot be read."),
    Page("NODE005", "model-missing", "The lock promises a model whose image is not on this node."),
    Page("NODE010", "not-a-node", "This machine was not made by aistack: it has no lock, so nothing was promised about it."),
)

MODELS = (
    Page(
        "HUB001",
        "hub-not-reached",
        """The hub that serves models did not answer.
HF_ENDPOINT names another; a folder or a Python package that carries the same bytes will do as well: the digests decide.""",
    ),
    Page("HUB002", "hub-model-gated", "The hub hands this model only to accounts that accepted its licence; accept it, then set HF_TOKEN."),
    Page("HUB003", "hub-model-unknown", "The hub has no such model, or does not show it to this account."),
    Page("HUB004", "revision-unknown", "The hub has the model, but not the revision that was asked for."),
    Page("HUB005", "model-file-wrong", "The bytes that came are not those that were pinned; nothing of them was kept."),
    Page("HUB006", "model-not-fetched", "A locked model is not in the store, and nothing may be fetched now."),
    Page("HUB007", "model-file-nowhere", "None of a model's sources has a file that the lock names."),
    Page("HUB008", "client-missing", "Models are fetched through the hub's own client, which comes with `aistack[build]`."),
    Page("HUB009", "no-weights", "The model is published in formats only that may run code when they are loaded; those are not taken."),
    Page("MDL001", "model-file-not-stored", "A file of a model has to be in the store before its image is made."),
    Page("MDL002", "conversion-empty", "The change of format ended well but left nothing."),
)

WHEELS = (
    Page("WHL001", "wheels-unresolved", "No set of Python packages satisfies all the requirements; the resolver's own words say why."),
    Page("WHL002", "no-wheel", "A Python package has no wheel for the app's Python and architecture; nothing is compiled."),
    Page("WHL003", "wheel-not-fetched", "A locked wheel is not in the store, and nothing may be fetched now."),
    Page("WHL004", "wheel-gone", "No index offers the wheel with the locked digest any more; lock again."),
    Page("WHL005", "wheel-unsafe", "A wheel holds a path that would leave the folder into which it is unpacked."),
    Page("WHL006", "wheel-digest-wrong", "The bytes that came are not those that were locked; nothing of them was kept."),
    Page("WHL007", "wheel-not-reached", "The index, or the file that it names, could not be read."),
    Page("WHL008", "wheel-not-installed", "A locked wheel is not built as wheels are, so that its files cannot be laid into an image."),
    Page("WHL009", "project-unknown", "The configured index has no project of that name."),
    Page(
        "WHL010",
        "no-ranges",
        "The index's server sends whole files only: one file of a wheel cannot be read without all of it.",
    ),
)

REGISTRIES = (
    Page(
        "REG001",
        "registry-not-reached",
        """The registry of an image did not answer, or not as registries do; the tool's own words stand below.
Proxies and registries.conf, which may name a mirror, are honoured.""",
    ),
    Page(
        "REG002",
        "registry-login-needed",
        """The registry shows the image to certain accounts only, or hides that it does not have it.
Credentials are kept by `skopeo login` or `podman login` in auth.json; REGISTRY_AUTH_FILE names another one.
They never enter a recipe, a lock or a command line.""",
    ),
    Page("REG003", "image-unknown", "The registry has no such repository, tag or digest, or a part of the image is gone from it."),
    Page(
        "REG004",
        "image-architecture",
        "The registry has the image, but for other processors than the recipe's `arch`; the message says for which.",
    ),
    Page(
        "REG005",
        "registry-not-trusted",
        """The registry has no certificate that this machine trusts, or speaks plain HTTP.
A CA of your own belongs into certs.d; a registry without TLS has to be called `insecure` in registries.conf.""",
    ),
    Page(
        "REG006", "image-bytes-wrong", "The bytes that came do not have the digest by which they were asked for; nothing of them was kept."
    ),
    Page("REG007", "image-interrupted", "The registry stopped in the middle of an image. The parts that came whole are kept."),
    Page("REG008", "image-not-fetched", "Parts of a locked image are not in the store, and nothing may be fetched now."),
)

RUNNING = (
    Page("POD001", "podman-client-missing", "Images are loaded through podman's own Python client, which comes with `aistack[build]`."),
    Page("POD002", "podman-no-service", "podman answers through a service that it starts for the purpose; that did not start."),
    Page("POD003", "podman-refused", "podman could not do what was asked; its own words stand below."),
    Page("POD004", "image-not-loaded", "podman took an image but does not list it afterwards."),
    Page(
        "BOOT001",
        "node-not-good",
        """The node did not boot to both gates and an answer of its apps.
The message says how far it came; the console's whole text lies in the file that is named.""",
    ),
    Page("REQ001", "app-not-reached", "The node is up, but nothing answers where its app should listen."),
    Page("REQ002", "answer-wrong", "The app answers, but not with what its model really gives."),
    Page("REQ003", "reference-unreadable", "The recorded answer, with which an app's answer is compared, cannot be read."),
)

PAGES = (*READING, *LOCK, *LICENCES, *HOST, *PACKAGES, *IMAGES, *MODELS, *WHEELS, *REGISTRIES, *DISK, *RUNNING, *NODE)
