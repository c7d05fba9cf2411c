"""Nobody sets his own bar: a device may not declare more room than its category allows.

What a category asks for at least (types, operators, opsets) are requirements, judged by cases; only what would widen
the device's own gate is refused here.
"""

from conformance.profile.category import Caps, CategoryProfile
from conformance.profile.declares import Precision
from conformance.profile.defects import path_text, place_of
from conformance.profile.device import DeviceProfile
from conformance.profile.model import Deadlines
from conformance.profile.terms import Term, spelled
from conformance.profile.tightening import loosenings, value_text
from conformance.profile.tree import Defect, KeyPath, Node
from conformance.profile.vocabulary import CONTRACTIONS, DETERMINISM


def check_caps(profile: DeviceProfile, category: CategoryProfile, root: Node) -> list[Defect]:
    """Return a defect for each declaration beyond the category's caps; `root` is the device profile's tree."""
    name, caps, declares = category.category.name, category.caps, profile.declares
    found: list[tuple[KeyPath, str]] = []
    for index, term in enumerate(declares.allowed_host_ops):
        if not any(cap.covers(term) for cap in caps.allowed_host_ops):
            what = f"'{term}' may not run on the host: the category {name} allows {_allowed(term, caps)}"
            found.append((("declares", "allowed_host_ops", index), what))
    deadlines = profile.runtime.deadlines or Deadlines()
    for key in ("open_s", "compile_s", "run_s"):
        asked, cap_s = getattr(deadlines, key), getattr(caps.deadlines, key)
        if asked is not None and asked > cap_s:
            what = f"{key} is {asked:g}, above the {cap_s:g} that the category {name} allows"
            found.append((("runtime", "deadlines", key), what))
    for type_name, precision in (declares.precision or {}).items():
        cap = caps.coarsest_precision.get(type_name, Precision()).completed(type_name)
        for looser in loosenings(cap, precision.completed(type_name)):
            path: KeyPath = ("declares", "precision", type_name, *looser.path)
            what = f"{path_text(looser.path)} is {value_text(looser.derived)}, coarser than {value_text(looser.was)}"
            found.append((path, f"{what}, the coarsest that the category {name} allows for {type_name}"))
    if declares.determinism is not None:
        weakest = caps.weakest_determinism
        if DETERMINISM.index(declares.determinism) < DETERMINISM.index(weakest):
            what = f"'{declares.determinism}' is weaker than {weakest}, the weakest that the category {name} allows"
            found.append((("declares", "determinism"), what))
    return [Defect(place_of(root, path), what) for path, what in found]


def _allowed(term: Term, caps: Caps) -> str:
    same = [str(cap) for cap in caps.allowed_host_ops if cap.op == term.op]
    if same:
        return f"only {' and '.join(same)}"
    if term.op in CONTRACTIONS:
        return "no contraction"
    names = sorted({spelled(cap.domain, cap.op) for cap in caps.allowed_host_ops})
    return f"only {', '.join(names)}" if names else "nothing"


def effective_deadlines(profile: DeviceProfile, category: CategoryProfile) -> dict[str, float]:
    """Return open_s, compile_s and run_s in seconds: the device's own, or the category's caps where it names none."""
    asked = profile.runtime.deadlines or Deadlines()
    caps = category.caps.deadlines
    return {key: getattr(asked, key) or getattr(caps, key) for key in ("open_s", "compile_s", "run_s")}
