"""The verdict on recipes: what is chosen, what is refused and why, and that every fix that is offered works."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from pathlib import Path

import pytest

from aistack.commands.fixing import applied
from aistack.compose.fixes import change, minimal_conflict
from aistack.compose.judge import Judgement, judge
from aistack.compose.recipe import Recipe, read
from aistack.compose.stack import complete
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.document import Node, parse, places

ROOT = Path(__file__).resolve().parent.parent
TODAY = "2026-11-22"
L4 = (ROOT / "recipes/l4-vllm-qwen3-8b.yaml").read_text()


def read_text(text: str) -> tuple[Recipe, Node]:
    root, problems = parse(text, "recipe.yaml")
    assert root is not None and problems == ()
    recipe, more = read(root)
    assert recipe is not None, more
    return recipe, root


def judged(text: str, catalog: Catalog, today: str = TODAY, *, fixes: bool = True) -> Judgement:
    recipe, root = read_text(text)
    return judge(recipe, catalog, places(root), today, fixes=fixes)


def found(judgement: Judgement, rule: str) -> Diagnostic:
    (diagnostic,) = (diagnostic for diagnostic in judgement.diagnostics if diagnostic.rule == rule)
    return diagnostic


def errors(judgement: Judgement) -> list[str]:
    return [diagnostic.rule for diagnostic in judgement.diagnostics if diagnostic.severity is Severity.ERROR]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_resolve(path: Path, catalog: Catalog) -> None:
    judgement = judged(path.read_text(), catalog)
    assert errors(judgement) == []
    assert judgement.stack is not None and judgement.stack.name == path.stem


@pytest.mark.parametrize(
    ("model", "args", "rules"),
    [
        ("google/gemma-3-4b-it", "max-model-len: 8192", []),
        ("google/gemma-3-27b-it", "max-model-len: 8192", ["ME101"]),
        ("Qwen/Qwen2.5-7B-Instruct", "max-model-len: 40960", ["MD104"]),
        ("Qwen/Qwen2.5-7B-Instruct", """max-model-len: 40960, rope-scaling: '{"rope_type": "yarn", "factor": 4.0}'""", []),
    ],
)
def test_what_vllm_serves_and_for_how_long_requests(model: str, args: str, rules: list[str], catalog: Catalog) -> None:
    """It serves models that see images with the same command; longer requests than a model was made for need scaled positions."""
    text = re.sub(r"args: .*", f"args: {{{args}}}", L4.replace("Qwen/Qwen3-8B", model))
    assert f"{{{args}}}" in text and errors(judged(text, catalog)) == rules


def test_newest_vllm_that_runs_on_the_packaged_driver(catalog: Catalog) -> None:
    stack = judged(L4, catalog).stack
    assert stack is not None and stack.driver is not None
    (app,) = stack.apps
    assert (stack.driver.version, app.version) == ("550.163.01", "0.19.1")
    assert (app.wheels.requirements, app.wheels.python) == (("vllm==0.19.1",), "3.13") if app.wheels else False
    assert complete(app)[:3] == ("vllm", "serve", "/models/Qwen/Qwen3-8B")
    assert complete(app)[-2:] == ("--max-model-len", "16384")
    choice = stack.choice("vllm")
    assert choice is not None
    assert [rejection.version for rejection in choice.rejected][:2] == ["0.33.0", "0.32.0"]
    assert {rejection.rule for rejection in choice.rejected} == {"NV101"}
    assert stack.choice("cuda", "chat") is not None and stack.choice("cuda", "chat").version == "12.8"  # type: ignore[union-attr]


def test_too_new_a_framework_is_refused_with_its_story(catalog: Catalog) -> None:
    judgement = judged(L4.replace(">=0.11", "0.33.*"), catalog)
    diagnostic = found(judgement, "NV101")
    assert diagnostic.message == "driver 550.163.01 is too old for CUDA 13.0"
    assert diagnostic.place is not None and diagnostic.place.line == 8
    assert [label.text for label in diagnostic.labels] == ["needs 580.65.06 or newer", "brings CUDA 13.0"]
    assert diagnostic.why[0] == "app `chat`: vllm 0.33.0 needs torch 2.14.0, whose wheel carries CUDA 13.0"
    assert diagnostic.rule_place is not None and diagnostic.rule_place.file == "accelerators/nvidia/stack.yaml"
    assert diagnostic.checked == "2026-11-22" and diagnostic.source is not None and "docs.nvidia.com" in diagnostic.source
    assert [(fix.text, fix.proved) for fix in diagnostic.fixes] == [("set `vllm: 0.19.1`", True)]
    assert judgement.stack is None


def test_an_architecture_that_the_os_is_not_known_for(catalog: Catalog) -> None:
    debian = dataclasses.replace(catalog.systems["debian-13"], architectures=("amd64",))
    narrow = dataclasses.replace(catalog, systems={**catalog.systems, debian.id: debian})
    assert errors(judged(L4.replace("amd64", "arm64"), narrow)) == ["OS103"]
    arm = judged(L4.replace("amd64", "arm64"), catalog).stack
    assert arm is not None and arm.arch == "arm64"


BACKPORTS = "sources: [{kind: apt, suites: [trixie-backports], packages: [%s]}]\n"


def test_a_kernel_of_another_suite_is_chosen_only_where_the_recipe_takes_it_from_there(catalog: Catalog) -> None:
    web = (ROOT / "recipes/web-appliance.yaml").read_text()

    def kernel(text: str) -> tuple[str, str]:
        stack = judged(text, catalog).stack
        assert stack is not None
        return stack.kernel.version, stack.kernel.suite

    offered = {kernel.suite: kernel.version for kernel in catalog.systems["debian-13"].kernels if kernel.flavor == "cloud"}
    stable, newer = (offered[suite] for suite in ("trixie-security", "trixie-backports"))
    assert kernel(web) == kernel(web + BACKPORTS % "podman") == (stable, "trixie-security")
    assert kernel(web + BACKPORTS % "linux-image-cloud-amd64") == (newer, "trixie-backports")
    assert kernel(web + BACKPORTS.replace("-backports", "") % f"linux-image-cloud-amd64={stable}-1") == (stable, "trixie-security")
    assert "RS101" in errors(judged(web + BACKPORTS.replace("trixie-b", "other-b") % "linux-image-cloud-amd64", catalog))
    driven = judged(L4.replace(', version: "6.12.*"', "") + BACKPORTS % "linux-image-amd64", catalog)
    assert any(f"kernels up to 6.15, not for {newer}" in diagnostic.message for diagnostic in driven.diagnostics)


WRONG = {
    "unknown os": (("debian-13", "debian-31"), "OS101"),
    "os of apps only": (("debian-13", "debian-14"), "OS102"),
    "flavor": (("generic", "genric"), "KR101"),
    "no drm": (('{flavor: generic, version: "6.12.*"}', "{flavor: cloud}"), "NV106"),
    "realtime": (('{flavor: generic, version: "6.12.*"}', "{flavor: realtime}"), "NV107"),
    "no such kernel": (("6.12.*", "6.19.*"), "RS101"),
    "no such driver": (("550.*", "580.*"), "RS101"),
    "no such release": ((">=0.11", ">=1.0"), "RS101"),
    "unknown accelerator": (("nvidia/l4", "nvidia/l44"), "AC101"),
    "driver does not know it": (("nvidia/l4", "nvidia/b200"), "AC103"),
    "old accelerator, open modules": (
        ('l4, count: 1}\ndriver: {version: "550.*"', 'v100-32gb, count: 1}\ndriver: {version: "550.*", flavor: open'),
        "AC104",
    ),
    "arm board": (("nvidia/l4", "nvidia/gb10"), "AC102"),
    "framework for another accelerator": (("nvidia/l4", "cpu/x86-64"), "AP102"),
    "unknown framework": (("vllm", "vlllm"), "AP101"),
    "framework that is only known": (('vllm: ">=0.11"', 'sglang: ">=0.5"'), "AP110"),
    "no model": (("models: [Qwen/Qwen3-8B]", "models: []"), "AP105"),
    "two models": (("[Qwen/Qwen3-8B]", "[Qwen/Qwen3-8B, Qwen/Qwen3-0.6B]"), "AP105"),
    "release does not know the model": ((">=0.11", "0.5.5"), "MD103"),
    "python too new": ((">=0.11", "0.10.0"), "AP103"),
    "context": (("16384", "65536"), "MD104"),
    "parallel": (("{max-model-len: 16384}", "{max-model-len: 8192, tensor-parallel-size: 3}"), "MD105"),
    "too large": (("Qwen/Qwen3-8B", "meta-llama/Llama-3.1-70B-Instruct"), "ME101"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_recipes_and_the_fixes_that_are_offered(name: str, catalog: Catalog) -> None:
    """Each fix is written into the text where it says, and that text is judged."""
    (old, new), rule = WRONG[name]
    assert old in L4
    text = L4.replace(old, new)
    judgement = judged(text, catalog)
    assert rule in errors(judgement)
    assert judgement.stack is None
    for diagnostic in judgement.diagnostics:
        assert diagnostic.place is not None, diagnostic
        assert not re.search(r"\{[a-z-]+\}|None|\(no ", diagnostic.message), diagnostic.message
        for fix in diagnostic.fixes:
            assert fix.proved
            after = applied(text, fix)
            assert after is not None
            assert set(errors(judged(after, catalog, fixes=False))) == set(fix.leaves), fix


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("flavor", "set `flavor: generic`"),
        ("no drm", "set `flavor: generic`"),
        ("no such kernel", 'set `version: "6.12.*"`'),
        ("no such driver", "set `version: 550.163.01`"),
        ("no such release", "set `vllm: 0.19.1`"),
        ("unknown accelerator", "set `product: nvidia/l4`"),
        ("old accelerator, open modules", "set `flavor: proprietary`"),
        ("python too new", "set `vllm: 0.19.1`"),
        ("parallel", "set `tensor-parallel-size: 1`"),
    ],
)
def test_fixes_that_are_found(name: str, fix: str, catalog: Catalog) -> None:
    (old, new), rule = WRONG[name]
    assert fix in [offered.text for offered in found(judged(L4.replace(old, new), catalog), rule).fixes]


def test_two_problems_are_both_told_each_with_the_change_that_mends_it_alone(catalog: Catalog) -> None:
    text = L4.replace(">=0.11", "0.33.*").replace("Qwen3-8B", "Qwen3-0.6B").replace("16384", "65536")
    judgement = judged(text, catalog)
    assert errors(judgement) == ["NV101", "MD104"]
    driver, context = (found(judgement, rule).fixes for rule in ("NV101", "MD104"))
    assert driver[0] == context[0] and not driver[0].leaves and len(driver[0].changes) == 2
    assert [(fix.text, fix.leaves) for fix in driver[1:]] == [("set `vllm: 0.19.1`", ("MD104",))]
    assert [(fix.text, fix.leaves) for fix in context[1:]] == [("set `max-model-len: 40960`", ("NV101",))]
    assert str(driver[1]) == "set `vllm: 0.19.1` (checked: mends this one; MD104 remains)"


def test_a_release_that_the_catalog_does_not_list_has_a_neighbour_that_it_lists(catalog: Catalog) -> None:
    missing = found(judged(L4.replace(">=0.11", "0.19.7"), catalog), "RS101")
    assert missing.message == "app `chat`: the catalog lists no release `0.19.7` of vllm"
    assert [fix.text for fix in missing.fixes] == ["set `vllm: 0.19.1`"]
    old = found(judged(L4.replace(">=0.11", "0.8.5"), catalog), "RS101")
    assert "did you mean `0.8.5.post1`?" in old.hints  # its wheels are for an older Python than the system's


def test_where_nothing_that_is_offered_fits_that_is_said(catalog: Catalog) -> None:
    judgement = judged(L4.replace("nvidia/l4", "nvidia/b200"), catalog)
    diagnostic = found(judgement, "NV201")
    assert "AC103" in errors(judgement) and diagnostic.fixes == ()
    assert any(hint.startswith("nothing that Debian 13 (trixie) offers fits") for hint in diagnostic.hints)


def test_minimal_conflict_names_only_what_matters(catalog: Catalog) -> None:
    recipe, _ = read_text(L4.replace(">=0.11", "0.33.*"))
    assert minimal_conflict(recipe, catalog, TODAY, frozenset()) == (("apps", "chat", "framework", "vllm"),)
    assert minimal_conflict(read_text(L4)[0], catalog, TODAY, frozenset()) == ()


def test_unknown_facts_are_unknown(catalog: Catalog) -> None:
    judgement = judged(L4.replace("Qwen/Qwen3-8B", "example/never-heard-of"), catalog)
    assert found(judgement, "MD101").severity is Severity.UNKNOWN
    assert errors(judgement) == [] and judgement.stack is None


def test_a_pin_that_leads_to_no_facts_is_unknown(catalog: Catalog) -> None:
    """The framework pins a torch that the catalog does not have: which CUDA it carries is not known, so nothing is refused."""
    vllm = catalog.frameworks["vllm"]
    release = replace(vllm.releases[0], version="0.99.0", needs={"torch": "9.9.9"})
    changed = replace(catalog, frameworks={**catalog.frameworks, "vllm": replace(vllm, releases=(release, *vllm.releases))})
    judgement = judged(L4, changed)
    assert errors(judgement) == []
    diagnostic = found(judgement, "NV101")
    assert diagnostic.severity is Severity.UNKNOWN
    assert diagnostic.message == "could not tell whether driver is 580.65.06 or newer: cuda is not known"


def test_modules_are_chosen_by_the_accelerator(catalog: Catalog) -> None:
    text = L4.replace("nvidia/l4", "nvidia/v100-32gb")
    stack = judged(text, catalog).stack
    assert stack is not None and stack.driver is not None
    assert (stack.driver.version, stack.driver.flavor) == ("550.163.01", "proprietary")


def test_verdict_does_not_depend_on_the_order_of_apps(catalog: Catalog) -> None:
    web = "  web:\n    framework: {nginx: '>=1.26'}\n"
    first = L4.replace("apps:\n", f"apps:\n{web}")
    last = L4.replace("node:", f"{web}node:")
    stacks = [judged(text, catalog).stack for text in (first, last)]
    assert all(stack is not None for stack in stacks)
    versions = [sorted((app.name, app.version) for app in stack.apps) for stack in stacks if stack]
    assert versions[0] == versions[1] == [("chat", "0.19.1"), ("web", "1.26.3")]


ALLOW = L4.replace("node:", "allow:\n  - {rule: RULE, because: lab node, until: 2027-01-31}\nnode:")


def test_allow_accepts_a_warning(catalog: Catalog) -> None:
    assert found(judged(L4.replace("16384", "20480"), catalog), "ME101").severity is Severity.WARNING
    with_code = judged(L4.replace("debian-13", "debian-13"), catalog, "2028-09-01")
    assert found(with_code, "OS104").severity is Severity.WARNING
    text = ALLOW.replace("RULE", "os-end-of-life").replace("2027-01-31", "2029-01-31")
    accepted = found(judged(text, catalog, "2028-09-01"), "OS104")
    assert accepted.severity is Severity.INFO
    assert accepted.why[-1] == "allowed until 2029-01-31: lab node"


def test_an_allowed_rule_does_not_constrain(catalog: Catalog) -> None:
    cloud = ALLOW.replace("RULE", "NV106").replace('{flavor: generic, version: "6.12.*"}', "{flavor: cloud}")
    judgement = judged(cloud, catalog)
    assert found(judgement, "NV106").severity is Severity.INFO
    assert judgement.stack is not None and judgement.stack.kernel.flavor == "cloud"
    assert errors(judged(cloud, catalog, "2027-02-01")) == ["NV106"]


@pytest.mark.parametrize(
    ("rule", "today", "complaint", "severity"),
    [
        ("NV999", TODAY, "AL101", Severity.ERROR),
        ("cuda-driver-minimun", TODAY, "AL101", Severity.ERROR),
        ("NV101", TODAY, "AL102", Severity.ERROR),
        ("OS104", TODAY, "AL104", Severity.WARNING),
        ("OS104", "2027-02-01", "AL103", Severity.WARNING),
    ],
)
def test_allow_is_judged_itself(rule: str, today: str, complaint: str, severity: Severity, catalog: Catalog) -> None:
    diagnostic = found(judged(ALLOW.replace("RULE", rule), catalog, today), complaint)
    assert diagnostic.severity is severity
    assert diagnostic.place is not None and diagnostic.place.line >= 16


WITH_IMAGE = L4.replace("    port: 8000", "    image: registry.example/vllm:latest\n    port: 8000")


def test_an_image_delivers_its_framework_and_the_release_is_judged_as_ever(catalog: Catalog) -> None:
    judgement = judged(WITH_IMAGE, catalog)
    assert "0.19.1 is judged" in found(judgement, "AP109").message and found(judgement, "AP109").severity is Severity.UNKNOWN
    assert judgement.stack is not None
    (app,) = judgement.stack.apps
    assert (app.version, app.image, app.os, app.packages, app.wheels) == ("0.19.1", "registry.example/vllm:latest", None, (), None)
    assert complete(app)[:2] == ("vllm", "serve") and dict(app.environment)["HOME"] == "/tmp"
    exact = judged(WITH_IMAGE.replace('">=0.11"', "0.19.1"), catalog)
    assert [diagnostic.rule for diagnostic in exact.diagnostics if diagnostic.severity is not Severity.WARNING] == []
    assert errors(judged(WITH_IMAGE.replace(">=0.11", "0.33.*"), catalog)) == ["NV101"]


def test_an_image_may_bring_a_framework_that_is_only_known(catalog: Catalog) -> None:
    judgement = judged(WITH_IMAGE.replace('vllm: ">=0.11"', "sglang: 0.4.6.post5"), catalog)
    assert errors(judgement) == [] and judgement.stack is not None
    (app,) = judgement.stack.apps
    assert (app.framework, app.version, app.os) == ("sglang", "0.4.6.post5", None)
    assert complete(app)[:3] == ("python3", "-m", "sglang.launch_server")


def test_what_an_image_brings_itself_is_unknown_not_wrong(catalog: Catalog) -> None:
    """The catalog's delivery has a Python, and is built for certain accelerators; another's image may differ."""
    assert errors(judged(L4.replace(">=0.11", "0.10.0"), catalog)) == ["AP103"]
    assert errors(judged(WITH_IMAGE.replace(">=0.11", "0.10.0"), catalog)) == []
    on_cpu = re.sub(r"driver: .*\n", "", WITH_IMAGE.replace("nvidia/l4", "cpu/x86-64"))
    assert found(judged(on_cpu, catalog), "AP102").severity is Severity.UNKNOWN


def test_an_app_of_which_only_the_image_is_known_resolves(catalog: Catalog) -> None:
    text = re.sub(r"    framework: .*\n", "", WITH_IMAGE)
    judgement = judged(text, catalog)
    assert found(judgement, "AP109").severity is Severity.UNKNOWN and errors(judgement) == []
    assert judgement.stack is not None
    (app,) = judgement.stack.apps
    assert (app.framework, app.version, app.inherits, app.health) == (None, None, True, None)
    assert [model.id for model in app.models] == ["Qwen/Qwen3-8B"]
    said = judged(text.replace("    port:", '    health: /up\n    command: [serve, "{model}", "{port}"]\n    port:'), catalog).stack
    assert said is not None and said.apps[0].health == "/up"
    assert complete(said.apps[0]) == ("serve", "/models/Qwen/Qwen3-8B", "8000", "--max-model-len", "16384")


def test_change_reaches_every_kind_of_value() -> None:
    recipe, _ = read_text(L4)
    for path, value in (
        (("os",), "debian-14"),
        (("kernel", "version"), "7.*"),
        (("accelerator", "count"), "2"),
        (("apps", "chat", "framework", "vllm"), "0.19.1"),
        (("apps", "chat", "args", "new"), "1"),
        (("apps", "chat", "models", 0), "Qwen/Qwen3-0.6B"),
        (("apps", "chat", "port"), "9000"),
    ):
        changed = change(recipe, path, value)
        assert changed is not None and changed != recipe, path
    assert change(recipe, ("apps", "nobody", "port"), "1") is None
    assert change(recipe, ("kernel", "colour"), "red") is None


@pytest.mark.parametrize(
    ("model", "severity", "said"),
    [
        ("google/gemma-2-9b-it", Severity.WARNING, "is under the Gemma Terms of Use: whoever passes it on"),
        ("MiniMaxAI/MiniMax-M2.5", Severity.UNKNOWN, "whose terms are not in the catalog"),
    ],
)
def test_a_licence_that_limits_what_may_be_passed_on(model: str, severity: Severity, said: str, catalog: Catalog) -> None:
    diagnostic = found(judged(L4.replace("Qwen/Qwen3-8B", model), catalog), "LC102")
    assert diagnostic.severity is severity
    assert said in diagnostic.message


def test_a_licence_that_no_document_confirms_is_unknown(catalog: Catalog) -> None:
    model = catalog.models["google/gemma-2-9b-it"]
    recalled = replace(model, recalled=(*model.recalled, "licence"))
    unsure = replace(catalog, models={**catalog.models, model.id: recalled})
    assert found(judged(L4.replace("Qwen/Qwen3-8B", model.id), unsure), "LC102").severity is Severity.UNKNOWN


def test_the_vendors_driver_is_told_and_can_be_allowed(catalog: Catalog) -> None:
    assert found(judged(L4, catalog), "LC101").severity is Severity.WARNING
    allowed = L4 + "allow: [{rule: LC101, because: nobody else gets these images, until: 2027-01-31}]\n"
    assert found(judged(allowed, catalog), "LC101").severity is Severity.INFO
    assert [one for one in judged((ROOT / "recipes/web-appliance.yaml").read_text(), catalog).diagnostics if one.rule[:2] == "LC"] == []


H100 = L4.replace("nvidia/l4", "nvidia/h100-sxm-80gb")
"""The same recipe for an accelerator of which servers use several."""


def sharing(model: str, count: int, args: str = "") -> str:
    """A recipe for so many H100 with these options of the framework."""
    text = H100.replace("Qwen/Qwen3-8B", model).replace("count: 1", f"count: {count}")
    return text.replace("{max-model-len: 16384}", f"{{{args}}}")


def test_a_model_that_needs_several_gets_the_degree_or_the_number(catalog: Catalog) -> None:
    llama = "meta-llama/Llama-3.3-70B-Instruct"
    one = found(judged(sharing(llama, 1), catalog), "ME101")
    assert one.severity is Severity.ERROR and one.fixes == ()
    (hint,) = one.hints
    assert hint.startswith("4 of them hold it: `accelerator.count: 4` with `tensor-parallel-size: 4` needs 47.1 GiB of the 69.8 GiB")
    four = found(judged(sharing(llama, 4), catalog), "ME101")
    assert [fix.text for fix in four.fixes] == ["add `tensor-parallel-size: 4` to `apps.chat.args`"] and four.hints == ()
    assert errors(judged(sharing(llama, 4, "tensor-parallel-size: 4"), catalog)) == []
    never = found(judged(sharing("deepseek-ai/DeepSeek-R1", 8, "tensor-parallel-size: 8, max-model-len: 4096"), catalog), "ME101")
    assert never.severity is Severity.ERROR and any("16 of them" in hint for hint in never.hints)


def test_the_heads_that_cannot_be_shared_are_named(catalog: Catalog) -> None:
    uneven = found(judged(sharing("microsoft/phi-4", 4, "tensor-parallel-size: 4"), catalog), "MD105")
    assert "has 10 KV heads, which 4 accelerators" in uneven.message
    assert [fix.text for fix in uneven.fixes] == ["set `tensor-parallel-size: 2`"]
    assert errors(judged(sharing("microsoft/phi-4", 2, "tensor-parallel-size: 2"), catalog)) == []


@pytest.mark.parametrize(
    ("args", "idle"),
    [
        ("", 7),
        ("tensor-parallel-size: 2", 6),
        ("tensor-parallel-size: 8", None),
        ("tensor-parallel-size: 2, pipeline-parallel-size: 4", None),
        ("data-parallel-size: 8", None),
        ("data-parallel-size: some", None),
    ],
)
def test_accelerators_that_nobody_uses(args: str, idle: int | None, catalog: Catalog) -> None:
    judgement = judged(sharing("Qwen/Qwen3-8B", 8, args), catalog)
    said = [one for one in judgement.diagnostics if one.rule == "ME103"]
    assert [one.message for one in said] == ([] if idle is None else [f"{idle} of 8 accelerators have nothing to do"])
    if idle is not None:
        assert [fix.text.split("`")[1] for fix in said[0].fixes] == ["tensor-parallel-size: 8", f"count: {8 - idle}"]


def test_what_is_proposed_has_room_for_the_forward_pass(catalog: Catalog) -> None:
    (fix,) = [fix for fix in found(judged(L4.replace("16384", "32768"), catalog), "ME101").fixes if "max-model-len" in fix.text]
    assert fix.changes[0].replacement == "18432"
    assert not [one for one in judged(L4.replace("16384", "18432"), catalog).diagnostics if one.rule == "ME101"]
