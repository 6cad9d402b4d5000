"""--compile changes how networks are computed, not what they compute nor what a checkpoint calls their weights."""

import torch

from learning.contrastive.setup import build_moco
from learning.distributed.process_group import ProcessContext
from options.contrast import parse_contrast_options
from tests.runs import SMALL

CPU = torch.device("cpu")


def test_compiled_networks_compute_the_same_under_the_same_names(monkeypatch):
    n_graphs = 0

    def count(graph, example_inputs):
        nonlocal n_graphs
        n_graphs += 1
        return graph.forward

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: compile_(function, backend=count, **options))
    torch.compiler.reset()
    crops = torch.randint(256, (2, 6, 3, 32, 32), dtype=torch.uint8)
    plain, compiled = (
        build_moco(parse_contrast_options([*SMALL, *more]), ProcessContext(), CPU) for more in ([], ["--compile"])
    )
    assert torch.equal(plain(*crops, 0)[0], compiled(*crops, 0)[0])
    assert n_graphs == 3  # the trial of the compiler, and one network each, whole
    for ours, theirs in ((compiled.f_q, plain.f_q), (compiled.f_k, plain.f_k)):
        assert ours.state_dict().keys() == theirs.state_dict().keys()
