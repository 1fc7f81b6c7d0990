"""A Jacobian that is kept between iterations and steps leads where a new one does."""

import flows
from flows.lag import Lag

import numpy as np
from dolfinx import fem


def test_a_jacobian_is_kept_while_newton_contracts_and_the_constants_stand():
    tau = fem.Constant(flows.mesh.rectangle(h=1), 0.1)
    lag = Lag(0.02, [tau])
    assert not lag.keeps(0, 1.0)  # the first is made
    assert lag.keeps(1, 1e-3)
    assert not lag.keeps(2, 5e-4)  # half is slow
    assert lag.keeps(3, 1e-6)
    assert lag.keeps(0, 1.0)  # another step of the same size
    tau.value = 0.2
    assert not lag.keeps(0, 1.0)
    lag.forget()
    assert not lag.keeps(0, 1.0)


def test_steps_with_a_kept_jacobian_are_the_steps_of_newton(monkeypatch):
    def run():
        flow = flows.allen_cahn(flows.mesh.rectangle(h=1 / 16), eps=0.1)
        flow.state.interpolate(lambda x: np.cos(3 * x[0]) * np.cos(2 * x[1]))
        made, (jacobian,) = [], flow.solver._entries
        assemble = type(jacobian).assemble
        with monkeypatch.context() as patch:
            counted = lambda bcs=(): made.append(1) or assemble(jacobian, bcs)
            patch.setattr(jacobian, "assemble", counted)
            iterations = sum(flow.step(1e-3).iterations for _ in range(5))
        return flow.state.x.array.copy(), len(made), iterations

    kept, built, iterations = run()
    monkeypatch.setattr(Lag, "keeps", lambda *_: False)
    fresh, each, newton = run()
    assert each == newton
    assert built < iterations
    assert np.allclose(kept, fresh, rtol=0, atol=1e-8)
