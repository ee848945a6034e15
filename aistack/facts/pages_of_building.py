"""Explanation pages of what fetching and building may say."""

from __future__ import annotations

from aistack.facts.page import Page

PACKAGES = (
    Page("KRN001", "no-kernels-offered", "No archive is known in which kernels of the recipe's OS and flavour could be looked for."),
    Page(
        "KMD002",
        "module-not-signed",
        "The compiled modules could not be signed with the recipe's key: it is not there, is not the certificate's, is of a kind that "
        "kernels do not prove (Ed25519, RSA-PSS, a curve but P-192, P-256, P-384 and P-521), or its token is shut. "
        "It is tried on an empty module before anything is compiled, and before a lock is made where the key is at hand. "
        "A pass phrase or PIN is taken from the environment variable KBUILD_SIGN_PIN, as the kernel's own build does.",
    ),
    Page(
        "KMD001",
        "modules-do-not-compile",
        "The driver's kernel modules were compiled for the kernel of the base, and the compiler refused: the kernel has run ahead of the "
        "driver, or the driver of the kernel. Nothing is built; the log is kept.",
    ),
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
    Page("PUSH001", "push-reference", "A push needs the registry, the repository in it and a tag; digests are made, not given."),
    Page(
        "PUSH004",
        "push-unsigned",
        "The recipe names a key that its nodes ask for, and a push that does not sign would leave them without updates.",
    ),
    Page(
        "PUSH003",
        "key-does-not-sign",
        """The private key that `aistack push --sign-by` names is none of sigstore's, or its passphrase is another one.
Nothing was pushed under the tag.""",
    ),
    Page(
        "PUSH005",
        "push-ahead",
        "The lock was sealed more than a day from now: a clock was wrong. Nodes would refuse the image, or each later one.",
    ),
    Page(
        "PUSH006",
        "push-older",
        """The tag names an image already whose lock was sealed later, and nodes take no older image than the one they run.
A lock that came back from a history has its old date. `aistack lock RECIPE --reseal` dates it now and keeps its pins.""",
    ),
    Page(
        "PUSH007",
        "push-other-architecture",
        """The tag names an image for another architecture than the recipe's. A push leaves one image below a tag, so nodes of the other
architecture that follow it would be refused what it names (REG004). A tag of its own for each, or a repository, keeps them apart. An
index that names an image for another architecture beside the recipe's is refused likewise: the push would put one image in its place.""",
    ),
    Page(
        "PUSH008",
        "push-over-no-image",
        """The tag names something that is no image which a node could run: a chart, a signature or another artifact, or something damaged.
The push would take its tag away.""",
    ),
    Page("PUSH002", "push-not-built", "The store lacks the recipe's system image, or an image that it binds: a node could not start it."),
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
    Page(
        "VER004",
        "nothing-to-verify",
        """What was named is neither a recipe nor an image on this disk. An image elsewhere is named with where it lies, as skopeo does it:
`docker://` for a registry, `containers-storage:` for podman's own images; a folder with a layout and an archive need no such word.""",
    ),
    Page("BLD001", "step-kind-unknown", "`--only` names a kind of step; the message lists those that the recipe's plan has."),
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
A node takes them from the credential aistack.registry-auth.
They never enter a recipe, a lock or a command line.""",
    ),
    Page("REG003", "image-unknown", "The registry has no such repository, tag or digest, or a part of the image is gone from it."),
    Page(
        "REG004",
        "image-architecture",
        "The registry has the image, but for other processors than the recipe's `arch`, or the node's own; the message says for which.",
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
    Page(
        "REG007",
        "image-interrupted",
        "The registry stopped in the middle of an image, or said nothing more. The parts that came whole are kept.",
    ),
    Page(
        "REG009",
        "image-not-signed",
        """This machine takes the image only with a signature by its key (containers-policy.json(5)), and there is none: nobody signed it,
somebody else did, the signature is another image's, or it was changed. A recipe's `node.signed-by` names a node's key.""",
    ),
    Page(
        "REG010",
        "image-not-allowed",
        """The policy of this machine (containers-policy.json(5)) takes nothing from there, whoever signed it, or cannot be read itself.
On a node it is /usr/lib/aistack/policy.json, whatever /etc says.""",
    ),
    Page("REG008", "image-not-fetched", "Parts of a locked image are not in the store, and nothing may be fetched now."),
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
        "REC015",
        "certificate-unreadable",
        "`driver.signing.certificate` names a file that cannot be read, or that holds no X.509 certificate.",
    ),
    Page("REC018", "public-key-unreadable", "`node.signed-by` names a file that cannot be read, or that holds no public key in PEM."),
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
    Page("OST008", "image-not-understood", "A manifest, a config or a layer that is being imported does not have its form."),
    Page(
        "OST010", "kargs-not-understood", "A file of kernel arguments in the image cannot be read, or says what only the boot menu may say."
    ),
    Page(
        "OST012",
        "etc-not-mergeable",
        """OSTree merges a machine's own /etc with a new image's when the machine shuts down. It gives up where a file that was made or
changed there is a folder in the image, or is neither file nor link; then the old image starts again. So nothing is staged there.""",
    ),
    Page("OST011", "deployment-not-on-disk", "No deployment on the disk has that name."),
    Page(
        "QEM002", "architecture-not-booted", "Boot tests start a virtual amd64 machine; nodes of other architectures are built, not booted."
    ),
    Page(
        "QEM003",
        "certificate-not-enrolled",
        "A boot with Secure Boot starts a virtual machine whose owner trusts the recipe's certificate; the program that writes it into the "
        "firmware's variables is not installed.",
    ),
    Page("QEM001", "firmware-missing", "QEMU boots by UEFI with a firmware file that is not installed."),
)
