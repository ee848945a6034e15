"""Explanation pages of the codes that no rule owns: reading files, finding tools, fetching, building, the command line.

Rules of the catalog and of compose explain themselves. A test compares this table with the codes that stand in the source.
"""

from __future__ import annotations

from aistack.facts.page import Page
from aistack.facts.pages_of_building import DISK, IMAGES, MODELS, PACKAGES, REGISTRIES, WHEELS

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
    Page(
        "DOC025",
        "key-not-read",
        """A snapshot may hold more than the rules ask for; a key that none of them reads changes no verdict.
A whole block whose name is nearly that of a known one is a warning: it was meant to be judged.""",
    ),
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
    Page(
        "REC010",
        "split-unknown",
        """The recipe splits accelerators (`accelerator: {mig: [...]}`) in a way that nothing here can compose.
MIG is NVIDIA's. What fits into accelerators is judged for whole ones, and an app is given all of them, so a recipe with `mig` has no apps:
it makes a node whose parts are given out by somebody else.""",
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
    Page(
        "CLI008",
        "output-is-input",
        """The file that is to be written is one of those that are read, by this name, another one or a link.
It would be lost, so nothing was done. Any other file is replaced as a whole, a link followed; into a pipe or a device it is written.""",
    ),
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
    Page(
        "LOCK011",
        "sources-in-base",
        """A package of the base needs one that compiles modules on the machine where it is installed (DKMS), and with it a compiler.
The modules of every package called `NAME-dkms` that a recipe names are compiled beside the image, for exactly its kernel; what the image
holds must not need such a package. Of a driver's user space, name what is used: its libraries and programs, not what brings all of it.""",
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


NODE = (
    Page("NODE001", "state-unreadable", "What this node remembers of its deployments cannot be read."),
    Page("NODE002", "state-damaged", "What this node remembers of its deployments does not have its form; nothing is decided on a guess."),
    Page("NODE003", "deployment-missing", "A decision names a deployment that this node does not have."),
    Page("NODE004", "bound-images-unreadable", "The store of images that the system brought along cannot be read."),
    Page("NODE005", "model-missing", "The lock promises a model whose image is not on this node."),
    Page("NODE007", "own-layer-unreadable", "A deployment's lock or quadlets cannot be read, so nobody can tell which apps it has."),
    Page("NODE006", "bound-image-unnamed", "A system image binds another one, and does not name it by its digest."),
    Page("NODE010", "not-a-node", "This machine was not made by aistack: it has no lock, so nothing was promised about it."),
    Page(
        "NODE011",
        "not-a-report",
        """The file is not what `aistack node check --json` prints or a gate writes to /run/aistack.
A file that was cut off while it was copied, one of another program, one with numbers that no device has, and one of a form that this
aistack does not know are named with the reason; the page is made of the others, and says which files are missing from it.""",
    ),
)

UPDATES = (
    Page(
        "UPD001",
        "no-room",
        """The file system has too little room for what comes, also after all that nothing needs was removed, so nothing was fetched.
Compressed layers say themselves how large they are unpacked; for those of other builders three times their size is reckoned with.
The largest bound image counts once more as it comes, since it lies there both ways until it is whole.
A disk on which nothing at all can be written is told so, too.""",
    ),
    Page(
        "BTC001",
        "bootc-not-understood",
        "`bootc status` speaks a version of its interface that this aistack does not know, or this system was not booted by it.",
    ),
    Page(
        "BTC002",
        "other-image-came",
        """The tag named another image than the one that is wanted when bootc fetched it; it is not staged. Either the tag moved meanwhile,
or a person named a digest that is not, or no more, the tag's: bootc follows tags alone.""",
    ),
    Page("BTC003", "nothing-downloaded", "bootc has no downloaded image that could be staged."),
    Page("UPD002", "bound-images-missing", "The system image binds apps or models that are not on this node, so it is not staged."),
    Page(
        "UPD003",
        "update-runs",
        "Only one update, rollback or cleaning runs at a time on a node; this one has waited for another, which is not done yet.",
    ),
    Page(
        "UPD004",
        "image-older",
        """The tag names an image whose lock was sealed before the booted one's.
It is signed, but old: whoever can make a registry answer with it could bring back a fault that was mended.""",
    ),
    Page(
        "UPD011",
        "image-ahead",
        """The tag names an image whose lock was sealed more than a day from now, by this machine's clock, which somebody keeps right.
Once confirmed it would be newer than every later image. `aistack lock RECIPE --reseal` dates the lock anew.""",
    ),
    Page(
        "UPD005",
        "nothing-to-go-back-to",
        """The node has no deployment but the one that runs, or every other one was undone on it, by a gate or by hand.
What was undone is started again only by somebody who names it: `aistack node update --to HOST/REPOSITORY:TAG@DIGEST`.""",
    ),
    Page(
        "UPD007",
        "trial-not-over",
        "The system that runs has still to prove itself; nothing is staged above it before its second gate has spoken.",
    ),
    Page(
        "UPD008",
        "update-reference",
        """What `--to` names, or the credential aistack.follow, is no image that a node could follow.
A digest is named by a person: one in a credential would be taken again after it was undone. Of another repository than the followed one its
tag has to be named too (HOST/REPOSITORY:TAG@DIGEST), since nobody knows what to follow afterwards.""",
    ),
    Page(
        "UPD014",
        "held-damaged",
        """The file that names the images to which somebody held this node cannot be read, so that no update takes anything.
Taken for empty it would end the hold without a word, and the node would follow its tag again.""",
    ),
    Page("UPD009", "window-not-understood", "The window in which the node may reboot is not in its form."),
    Page(
        "UPD010",
        "image-given-up",
        """The node was restarted three times by an update to start this image, and what ran before came up again each time.
An image is staged beside the running one, and put in place by OSTree when the machine shuts down: a full or damaged /boot, or a shutdown
that is cut off, keeps it from that. Until the tag names another image, this one is taken only by its digest.""",
    ),
    Page(
        "UPD012",
        "image-of-another-architecture",
        """The lock in the image is for another architecture than this machine's, though the image's config says that it fits.
Its kernel could not be started, so nothing is staged.""",
    ),
    Page("UPD006", "layout-not-understood", "The file or folder is no OCI layout that holds the image which the node follows."),
    Page(
        "UPD013",
        "layout-not-asked",
        """The image was to come from an OCI layout (`--from`), and another place answered for it: nothing was taken.
The layout counts before every registries.conf and drop-in as long as skopeo reads those of the home folder last, as Debian's does.""",
    ),
    Page(
        "ESP001",
        "esp-missing",
        "The disk that holds /boot has no EFI system partition as aistack lays it out; shim and GRUB stay as they are.",
    ),
    Page(
        "ESP002", "exchange-failed", "A program on the EFI system partition could not be exchanged in one step; the old one is still there."
    ),
    Page(
        "ESP003",
        "program-broken",
        """A program for UEFI in this system's image is cut off, empty, or for another processor: firmware would find nothing to start.
The EFI system partition keeps the programs that it has.""",
    ),
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

PAGES = (*READING, *LOCK, *LICENCES, *HOST, *PACKAGES, *IMAGES, *MODELS, *WHEELS, *REGISTRIES, *DISK, *RUNNING, *NODE, *UPDATES)
