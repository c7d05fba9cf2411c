"""What an operator itself may be off in the last place: the ulp, function and magnitude classes.

ulp at a result is max(2^⌊log2|ref|⌋, nmin)·2^−nf, with nf and nmin of the type that the result is stored in. TOSA is the
Arm/Linaro operator specification whose conformance suite derives its limits in this way; OpenCL is the table of maximum
relative errors in its C specification (full profile, single precision), which every conformant GPU meets; Vulkan is the
table of precision of its SPIR-V environment.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from conformance.numerics.formats import round_to
from conformance.reference.operator_bounds.call import Call, Local, last_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.tensors import Array


def ulps(count: float) -> Callable[[Call], Local]:
    """Return the law of a fixed number of units in the last place; one more in float64, where the reference has its own."""

    def law(call: Call) -> Local:
        limit = count + (1.0 if call.form().bits >= 53 else 0.0)
        y = call.outputs[0]
        # These operators give zero only where it is exact: an operand is zero, or equal terms cancel.
        return Local(np.where(y == 0, 0.0, last_place(y, call.form())), limit, f"{limit:g} ulp")

    return law


def function(count: float, slope: Callable[[Array, Array], Array], share: float = 1.0) -> Callable[[Call], Local]:
    """Return the law of an elementary function f: `count` ulp, and `share` · 2^−nf · |x·f′(x)| for its argument.

    The second term is what rounding the reduced or rebased argument costs (the reduction of sine and cosine, the change of
    base of logarithm and exponential). `slope(x, f(x))` returns f′.
    """

    def law(call: Call) -> Local:
        x, y, form = call.inputs[0], call.outputs[0], call.form()
        with np.errstate(all="ignore"):
            conditioned = share * 2.0 * form.roundoff * np.abs(x * slope(x, y))
        conditioned = np.where(np.isfinite(conditioned) & (x != 0), conditioned, 0.0)
        own = count + (1.0 if form.bits >= 53 else 0.0)
        return Local(own * last_place(y, form) + conditioned, 1.0, f"{own:g} ulp and the condition of the argument")

    return law


def logarithm(call: Call) -> Local:
    """Log: 3 ulp (OpenCL), and 4 · 2^−nf in absolute terms for arguments in [½, 2], where base 2 cancels (Vulkan: 2^−21 in float32)."""
    x, y, form = call.inputs[0], call.outputs[0], call.form()
    near = np.where((x >= 0.5) & (x <= 2.0), 4 * 2.0 * form.roundoff, 0.0)
    return Local(np.maximum((3 + (form.bits >= 53)) * last_place(y, form), near), 1.0, "3 ulp, 2^(2−nf) near 1")


def exponential(call: Call) -> Local:
    """Exp: 2^−nf · |ref| · (1 + |x| + b), b = 3 for float32 and 1 otherwise (TOSA): rounding x·log2(e) costs |x| units."""
    x, y, form = call.inputs[0], call.outputs[0], call.form()
    more = 3.0 if form.bits == 24 else 1.0
    with np.errstate(all="ignore"):
        unit = np.abs(y) * (1 + np.abs(x) + more) * 2.0 * form.roundoff
    return Local(np.maximum(np.where(np.isfinite(unit), unit, 0.0), form.step), 1.0, "2^−nf·|ref|·(1 + |x| + b)")


def sigmoid(call: Call) -> Local:
    """Sigmoid: 1/(1 + exp(−x)) is off as much as its exponential, (1 − y)·(1 + |x| + b), and a sum and a quotient (4) more, relative.

    ½ + ½·tanh(x/2) is as good a form, and off in absolute terms: 2 · 2^−24, where tanh is computed in float32 or wider.
    """
    x, y, form = call.inputs[0], call.outputs[0], call.form()
    more = 3.0 if form.bits == 24 else 1.0
    wide = 2.0**-24 if form.bits <= 24 else form.roundoff
    with np.errstate(all="ignore"):
        unit = 2 * form.roundoff * y * ((1 - y) * np.where(y > 0, 1 + np.abs(x) + more, 0.0) + 4)
    return Local(
        np.where(np.isfinite(unit), unit, 0.0) + 2 * wide + form.step,
        1.0,
        "its exponential, or 2^−23 for a form by tanh",
    )


def softplus(call: Call) -> Local:
    """Softplus: log(1 + exp(x)), as its body has it: the exponential's error through σ(x), a rounding of the sum, the logarithm's own.

    Nothing is asked where exp(x) overflows, although max(x, 0) + log(1 + exp(−|x|)) would not.
    """
    x, y, form = call.inputs[0], call.outputs[0], call.form()
    more = 3.0 if form.bits == 24 else 1.0
    with np.errstate(all="ignore"):
        slope = 1 / (1 + np.exp(-x))
        unit = 2 * form.roundoff * (slope * (1 + np.abs(x) + more) + 1)
        unit = np.where(np.isfinite(unit), unit, 0.0) + np.where(np.isfinite(x), 4 * last_place(y, form), 0.0)
    unit += np.where(y <= math.log(2.0), 4 * 2 * form.roundoff, 0.0)
    return Local(unit, 1.0, "log(1 + exp x)", exempt=np.isfinite(x) & (x >= _logarithm_of(form.largest)))


def _logarithm_of(largest: float) -> float:
    return math.log(largest) if math.isfinite(largest) else 709.78


def power(call: Call) -> Local:
    """Pow: as Exp with t = y·ln|x|, whose logarithm is off 3 ulp and whose product another ½: 2^−nf · |ref| · (1 + 4.5·|t| + b).

    Where the exponent is a small whole number the device may multiply: |y| roundings, which the same formula holds
    except near |x| = 1; therefore |y| is added up to 4.
    """
    x, exponent, form = call.inputs[0], call.inputs[1], call.form()
    y = call.outputs[0]
    more = 3.0 if form.bits == 24 else 1.0
    with np.errstate(all="ignore"):
        t = np.abs(exponent * np.log(np.abs(x)))
        t = np.where(np.isfinite(t), t, 0.0)
        unit = np.abs(y) * (1 + 4.5 * t + more + np.minimum(np.abs(exponent), 4)) * 2.0 * form.roundoff
    return Local(
        np.maximum(np.where(np.isfinite(unit), unit, 0.0), form.step), 1.0, "2^−nf·|ref|·(1 + 4.5·|y·ln x| + b)"
    )


def product(count_of: Callable[[Call], int]) -> Callable[[Call], Local]:
    """Return the law of a product of n factors: max(|ref|, nmin) · ((1 + 2^(−nf−1))^n − 1) (TOSA): n roundings, one after another."""

    def law(call: Call) -> Local:
        form, count = call.form(), count_of(call)
        grown = math.expm1(count * math.log1p(form.roundoff))
        y = call.outputs[0]
        with np.errstate(all="ignore"):
            unit = np.maximum(np.abs(np.where(np.isfinite(y), y, 0.0)), form.nmin) * grown
        # A factor that overflows or underflows on the way in some order is nobody's fault.
        return Local(unit, 1.0, f"product of {count}", exempt=_may_leave_range(call, form.largest, form.nmin))

    return law


def _may_leave_range(call: Call, largest: float, nmin: float) -> Array:
    """Return where some order of multiplying may leave the range: all large factors first, or all small ones."""
    large, small = [], []
    for one in call.inputs:
        is_factor = isinstance(one, np.ndarray) and one.dtype.kind == "f"
        x = np.abs(np.where(np.isfinite(one), one, 1.0)) if is_factor else one
        large.append(np.maximum(x, 1.0) if is_factor else one)
        small.append(np.where(x > 0, np.minimum(x, 1.0), 1.0) if is_factor else one)
    with np.errstate(all="ignore"):
        high, low = np.abs(call.compute(large)[0]), np.abs(call.compute(small)[0])
    return np.asarray((high > largest) | (low < nmin))


def resize(call: Call) -> Local:
    """Resize: max(0.006 · max|in|, 20 ulp) for float32 (TOSA); the share grows with the roundoff up to 2^−6 for narrower types.

    The coordinates are computed in the operator's own precision, and the weights from their fractions.
    """
    form, y = call.form(), call.outputs[0]
    finite = np.abs(call.inputs[0][np.isfinite(call.inputs[0])])
    share = 0.006 if form.bits >= 11 else 2.0**-6
    unit = np.maximum(share * (finite.max() if finite.size else 0.0), 20 * last_place(y, form))
    return Local(unit, 1.0, "0.006·max|in| or 20 ulp")


def cast(call: Call) -> Local:
    """Cast to a floating-point type: exact where the target holds the value, else 1 ulp (TOSA: ½ up, 1 down)."""
    target, y = call.form(), call.outputs[0]
    unit = np.where(round_to(y, target) == y, 0.0, last_place(y, target))
    return Local(unit, 1.0, "cast, 1 ulp")
