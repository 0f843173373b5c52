"""Muon: what it makes of matrices, that it learns, and which matrices it is given."""

import pytest
import torch

from pipelines.house import diffusion, model, muon, world
from pipelines.house.loop import Session, Settings


def test_muon_makes_matrices_orthogonal():
    matrices = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(muon.orthogonal(matrices))
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert float((muon.orthogonal(matrices) * (u @ v)).sum(dim=(1, 2)).min()) > 0.8 * 8
    assert torch.allclose(muon.orthogonal(matrices.mT), muon.orthogonal(matrices).mT, atol=1e-5)


def test_muon_learns_and_takes_only_matrices():
    torch.manual_seed(0)
    wanted, layer = torch.randn(12, 12), torch.nn.Linear(12, 12, bias=False)
    optimiser = muon.Muon(layer.parameters(), 0.5)
    for _ in range(100):
        for group in optimiser.param_groups:
            group["lr"] *= 0.96
        loss = (layer.weight - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.05
    with pytest.raises(ValueError, match=r"\(12,\)"):
        muon.Muon([torch.nn.Parameter(torch.zeros(12))], 0.1)


def test_only_the_matrices_of_blocks_go_to_muon(tmp_path):
    house = model.build(model.toy_config(world.VOCABULARY))
    learner = diffusion.Learner(house.dit, house.text)
    plan = Settings(tmp_path, torch.device("cpu"), 5.0, 0.0, 2, 1e-3, (0.9, 0.95), matrix_lr=1e-3)
    session = Session("x", learner, plan, {})
    groups = [p for optimiser in session.optimisers for group in optimiser.param_groups for p in group["params"]]
    assert len(groups) == len({id(p) for p in groups}) == len(list(learner.parameters()))
    turned = {id(p) for p in session.optimisers[1].param_groups[0]["params"]}
    names = [name for name, p in learner.named_parameters() if id(p) in turned]
    assert len(names) == 2 * 10 and all(name.startswith("dit.blocks.") and name.endswith("weight") for name in names)
