"""The registry: one function a method, found by name, listed with what it is."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch

from ckdmed.losses import LogitMSELoss, LossTerm, TeacherShares
from ckdmed.methods import TASKS, Task, distillation_loss, method, methods, registered, usual_setting, with_options_of
from ckdmed.methods.registry import options_of
from tests.methods.test_segmentation import toy


def my_method(task: Task, w_sup: float = 1.0, w_logit: float = 1.0) -> dict[str, LossTerm]:
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "mine": LossTerm(LogitMSELoss(), "logits", w_logit),
    }


def test_every_method_is_described():
    for one in registered():
        assert one.summary and not one.summary.endswith(".") and "\n" not in one.summary
        assert one.source or one.name == "supervised"
        assert one.function.__name__ == one.name and set(one.tasks) <= set(TASKS)
        documented = inspect.getdoc(one.function) or ""
        assert all(option in documented for option in one.options), one.name
    for task in TASKS:
        assert {"ckd", "supervised", "kd"} <= set(methods(task))


def test_each_method_is_one_file():
    places = [(one.function.__module__, one.name) for one in registered()]
    assert len(places) == len({module for module, _ in places})
    assert all(module.rsplit(".", 1)[1] == name for module, name in places)


def test_a_function_of_ones_own_needs_no_registration():
    student, teacher, target = toy()
    values = distillation_loss(my_method, w_logit=2.0)(student, teacher, target)
    assert values.weights == {"supervised": 1.0, "mine": 2.0} and values.terms["mine"].item() == pytest.approx(4.25)
    # as a configuration hands it over
    assert distillation_loss(partial(my_method, w_logit=3.0)).terms["mine"].weight == 3.0
    with pytest.raises(ValueError, match="w_logit of the method 'my_method' is given twice"):
        distillation_loss(partial(my_method, w_logit=3.0), w_logit=2.0)
    with pytest.raises(ValueError, match="'my_method' has no use for w_att=1.0; its options are: w_sup, w_logit"):
        distillation_loss(my_method, w_att=1.0)


def test_a_registered_function_of_ones_own_is_found_by_name(monkeypatch: pytest.MonkeyPatch):
    from ckdmed.methods import registry

    methods("regions")
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))
    assert method("mine", "segmentation", summary="mine")(my_method) is my_method
    assert methods("segmentation")["mine"].options == {"w_sup": 1.0, "w_logit": 1.0}
    assert list(distillation_loss("mine").terms) == ["supervised", "mine"]
    with pytest.raises(ValueError, match="no method 'mine' for regions. It fits other tasks"):
        distillation_loss("mine", "regions")
    # the same module read anew is no second method
    method("mine", "segmentation", summary="mine")(my_method)
    with pytest.raises(ValueError, match=r"'ckd' of segmentation is registered already, by ckdmed.methods.*ckd"):
        method("ckd", "segmentation", summary="mine")(my_method)


def _no_task(w_sup: float = 1.0) -> dict[str, LossTerm]:
    return {}


def _anything(task: Task, **options: float) -> dict[str, LossTerm]:
    return {}


def _no_default(task: Task, w_sup: float) -> dict[str, LossTerm]:
    return {}


def _a_sum(task: Task) -> dict[str, torch.Tensor]:
    return {"loss": torch.zeros(())}


def test_what_is_no_method():
    for function in (_no_task, _anything):
        with pytest.raises(ValueError, match="a method is a function of 'task' and of options with names"):
            options_of(function)
    with pytest.raises(ValueError, match=r"the options \['w_sup'\] of the method 'x' need defaults"):
        method("x", "regions", summary="x")(_no_default)
    with pytest.raises(ValueError, match="the tasks of the method 'x' must be among segmentation, regions"):
        method("x", "masks", summary="x")
    with pytest.raises(ValueError, match="must give LossTerms by name; it gave {'loss': 'Tensor'}"):
        distillation_loss(_a_sum)
    with pytest.raises(ValueError, match="the task must be one of segmentation, regions"):
        distillation_loss("ckd", "masks")


def test_terms_of_several_teachers():
    for name in methods("unimodal"):
        loss = distillation_loss(name, "unimodal", shares=TeacherShares(2, 3), cooperative=True)
        assert loss.needs_teacher == (name != "supervised")


def test_shared_settings_without_the_options_of_other_methods():
    shared = {"epochs": 3, "w_logit": 2.0, "w_edge": 0.1, "temperature": 4.0}
    assert with_options_of("kd", "segmentation", shared) == {"epochs": 3, "w_logit": 2.0, "temperature": 4.0}
    assert with_options_of("supervised", "segmentation", shared) == {"epochs": 3, "w_edge": 0.1}
    assert with_options_of("supervised", "classification", {"alpha": 0.5, "seed": 1}) == {"seed": 1}


def test_settings_that_belong_to_a_method():
    assert usual_setting("function_matching", "segmentation", "mixup", 0.0) == 1.0
    assert usual_setting("cross_architecture", "classification", "student_view", None) == "masked"
    # in a comparison of methods, too, no view that all others share moves what it compares
    assert usual_setting("tokens", "classification", "student_view", "affine") is None
    # of others, of one's own and of none it is the bundle's
    for name in ("kd", my_method, "unknown"):
        assert usual_setting(name, "segmentation", "mixup", 0.25) == 0.25
