"""The plan: what shapes a step's output is in its id, nothing else is; and only what leads to something missing is made."""

from __future__ import annotations

import dataclasses

from aistack.compose.lock import Lock, LockedApp, LockedConversion, LockedModel
from aistack.compose.plan import ROOTS, Step, Surroundings, inputs, plan, to_do
from aistack.facts.pins import LockedBlob, LockedFile, LockedImage, LockedPackage, LockedRoot, LockedWheel


def root(*names: str) -> LockedRoot:
    packages = tuple(
        LockedPackage(
            name=name,
            version="1",
            arch="amd64",
            sha256=name.ljust(64, "0"),
            size=1,
            origin="trixie/main",
            filename=f"{name}.deb",
            source=f"{name} 1",
        )
        for name in names
    )
    return LockedRoot(arch="amd64", os="debian-13", packages=packages)


APP = LockedApp(
    name="chat", framework="llama.cpp", version="0.7.0", root="app-chat", python=None, wheels=(), models=("org/model",),
    command=("llama-server", "--port", "8000"), environment=(), port=8000, health="/health",
)  # fmt: skip
MODEL = LockedModel(
    id="org/model", revision="r", licence="Apache-2.0", sources=("hub",), files=(LockedFile(path="w", sha256="f" * 64, size=1),),
    conversion=LockedConversion(root="converter-gguf", format="gguf", argv=("convert",)),
)  # fmt: skip
LOCK = Lock(
    name="node", arch="amd64", os="debian-13", components=(("kernel", "6.12.1"),), accelerator=None,
    roots=tuple((name, root(name)) for name in ("app-chat", "base", "converter-gguf", "tools")),
    apps=(APP,), models=(MODEL,), node=(), memory_mib=1024, wish="sha256:0",
)  # fmt: skip
HERE = Surroundings(
    tools={"mmdebstrap": "1", "zstd": "1", "bwrap": "1", "installer": "1"}, ours={"base-image": "a", "app-image": "a", "disk": "a"}
)


def ids(lock: Lock, surroundings: Surroundings = HERE) -> dict[str, str]:
    return {step.title: step.id for step in plan(lock, surroundings)}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {title for title in before if before[title] != after[title]}


def test_a_change_of_an_app_changes_what_binds_it_and_nothing_else() -> None:
    other = dataclasses.replace(LOCK, apps=(dataclasses.replace(APP, command=("llama-server",)),))
    assert changed(ids(LOCK), ids(other)) == {"app-image chat", "system-image node", "sbom node", "verify node", "disk node"}


def test_a_setting_of_an_app_installs_nothing_again() -> None:
    other = dataclasses.replace(LOCK, apps=(dataclasses.replace(APP, environment=(("OMP_NUM_THREADS", "4"),)),))
    assert changed(ids(LOCK), ids(other)) == {"app-image chat", "sbom node", "system-image node", "verify node", "disk node"}
    roots = tuple((name, root("llama.cpp-new") if name == "app-chat" else locked) for name, locked in LOCK.roots)
    assert {"app-root chat", "app-image chat"} <= changed(ids(LOCK), ids(dataclasses.replace(LOCK, roots=roots)))


def test_a_change_of_the_base_leaves_apps_and_models_alone() -> None:
    roots = tuple((name, root("base", "more") if name == "base" else locked) for name, locked in LOCK.roots)
    after = ids(dataclasses.replace(LOCK, roots=roots))
    assert changed(ids(LOCK), after) == {"base-image debian-13", "system-image node", "sbom node", "verify node", "disk node"}


def test_what_an_image_says_of_itself_shapes_it() -> None:
    for other in (dataclasses.replace(MODEL, revision="s"), dataclasses.replace(MODEL, licence="MIT")):
        model = dataclasses.replace(LOCK, models=(other,))
        assert "model-image org/model" in changed(ids(LOCK), ids(model)), other
    app = dataclasses.replace(LOCK, apps=(dataclasses.replace(APP, version="0.7.1"),))
    assert "app-image chat" in changed(ids(LOCK), ids(app))
    kinds = {title.partition(" ")[0] for title in changed(ids(LOCK), ids(dataclasses.replace(LOCK, arch="arm64")))}
    assert {"base-image", "app-image", "model-image"} <= kinds


def test_another_tool_or_other_code_of_ours_makes_another_step() -> None:
    tool = dataclasses.replace(HERE, tools={**HERE.tools, "bwrap": "2"})
    assert "converted-model org/model" in changed(ids(LOCK), ids(LOCK, tool))
    ours = dataclasses.replace(HERE, ours={**HERE.ours, "disk": "b"})
    assert changed(ids(LOCK), ids(LOCK, ours)) == {"disk node"}


def test_an_image_that_others_built_is_its_own_step() -> None:
    blob = LockedBlob(sha256="e" * 64, size=1, media_type="m")
    image = LockedImage(
        reference="registry.example/app:1", manifest=blob, config=blob, layers=(dataclasses.replace(blob, sha256="d" * 64),)
    )
    app = dataclasses.replace(APP, framework=None, version=None, root=None, image=image)
    lock = dataclasses.replace(LOCK, apps=(app,))
    (step,) = (step for step in plan(lock, HERE) if step.kind == "app-image")
    assert step.inputs == () and image.digest in step.content
    moved = dataclasses.replace(app, image=dataclasses.replace(image, manifest=dataclasses.replace(blob, sha256="c" * 64)))
    after = ids(dataclasses.replace(lock, apps=(moved,)))
    assert changed(ids(lock), after) == {"app-image chat", "sbom node", "system-image node", "verify node", "disk node"}
    assert inputs(lock)["d" * 64] == "layer 1 of 1 of registry.example/app:1"
    assert app.contents == "registry.example/app:1"


def test_wheels_are_laid_out_again_only_for_what_shapes_them() -> None:
    """The wheels, their layers, and of the root the interpreter alone."""
    wheel = LockedWheel(name="torch", version="2", filename="torch-2-py3-none-any.whl", sha256="c" * 64, size=1)
    app = dataclasses.replace(APP, python="3.13", wheels=(wheel,), wheel_layers=(("wheel-torch", ("torch",)),))

    def with_packages(*names: str, app: LockedApp = app) -> dict[str, str]:
        roots = tuple((name, root(*names) if name == "app-chat" else locked) for name, locked in LOCK.roots)
        return ids(dataclasses.replace(LOCK, apps=(app,), roots=roots))

    before = with_packages("openssl", "python3.13")
    image = {"app-image chat", "sbom node", "system-image node", "verify node", "disk node"}
    assert changed(before, with_packages("openssl-new", "python3.13")) == image | {"app-root chat"}
    assert changed(before, with_packages("openssl")) == image | {"app-root chat", "app-wheels chat"}
    for other in (
        dataclasses.replace(app, wheels=(dataclasses.replace(wheel, sha256="d" * 64),)),
        dataclasses.replace(app, wheel_layers=(("wheels-00", ("torch",)),)),
        dataclasses.replace(app, python="3.12"),
    ):
        assert changed(before, with_packages("openssl", "python3.13", app=other)) == image | {"app-wheels chat"}
    assert changed(before, with_packages("openssl", "python3.13", app=dataclasses.replace(app, command=("x",)))) == image


def test_names_shape_nothing() -> None:
    assert Step(kind="disk", name="one", inputs=(), content="{}").id == Step(kind="disk", name="other", inputs=(), content="{}").id


def test_without_models_all_the_rest_is_planned() -> None:
    kinds = [step.kind for step in plan(LOCK, HERE, models=False)]
    assert kinds == ["tools-root", "base-image", "app-root", "app-image"]


def test_a_lock_without_its_models_never_gives_a_system() -> None:
    kinds = {step.kind for step in plan(dataclasses.replace(LOCK, models=()), HERE, models=False)}
    assert kinds == {"tools-root", "base-image", "app-root", "app-image"}


def test_inputs_come_before_their_users() -> None:
    seen: set[str] = set()
    for step in plan(LOCK, HERE):
        assert set(step.inputs) <= seen
        seen.add(step.id)


def test_everything_is_to_do_at_first_and_nothing_at_last() -> None:
    steps = plan(LOCK, HERE)
    assert to_do(steps, lambda step: False) == steps
    assert to_do(steps, lambda step: True) == ()


def test_a_throw_away_root_is_made_again_only_for_a_user_that_needs_it() -> None:
    steps = plan(LOCK, HERE)
    gone = {step.id for step in steps if step.kind in ROOTS}
    assert to_do(steps, lambda step: step.id not in gone) == ()
    assert [step.kind for step in to_do(steps, lambda step: step.id not in gone, "tools-root")] == ["tools-root"]
    missing = next(step for step in steps if step.kind == "converted-model")
    todo = [step.kind for step in to_do(steps, lambda step: step.id not in gone | {missing.id})]
    assert todo == ["converter-root", "converted-model"]
