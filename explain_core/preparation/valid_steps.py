"""Which timesteps of a padded input are real, as far as something that was given says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from explain_core.backends.protocol import OwnMask
from explain_core.errors import InputError

_LENGTHS = re.compile(r"(^|_)(n|t|len|lens|lengths?|sizes?|steps?|counts?)($|_|\d)|lens?$|lengths?$", re.I)
_PADDING = re.compile(r"pad", re.I)
_VALID = re.compile(r"valid|attention|attn|observed|real", re.I)


def _unasked(steps: np.ndarray) -> None:
    """What a model reads, where there is none to ask."""


@dataclass(frozen=True)
class Form:
    """One input as its baseline has to fit it. N is samples.

    Attributes:
        name: of the input.
        values: (N, ...), the sample axis first.
        axis: where the sample axis is in the layout of the caller; None where there is none.
        is_explained: whether it has a baseline of its own.
        dims: names of the axes after that of the samples.
        roles: of each of these "time", "feature", "unit" or another meaning, or None where nothing says.
        labels: by axis of ``values``, one for each position.
        lengths: (N,) real steps, where the caller's array said so itself.
        is_ids: whether there are ids in it that are looked up in a table.
        sample_name: what the caller calls the sample axis.
        is_assumed: whether the roles are the usual order, and said by nothing.
        own_mask: of which steps the model itself makes a mask, where it does.
        reads_only: whether the model reads just some steps (N, T); None where it cannot be told. See `steps_read`.
    """

    name: str
    values: np.ndarray
    axis: int | None
    is_explained: bool
    dims: tuple[str, ...]
    roles: tuple[str | None, ...]
    labels: dict[int, np.ndarray] = field(default_factory=dict)
    lengths: np.ndarray | None = None
    is_ids: bool = False
    sample_name: str = "sample"
    is_assumed: bool = False
    own_mask: OwnMask | None = None
    reads_only: Callable[[np.ndarray], bool | None] = _unasked

    def axis_of(self, role: str) -> int | None:
        """The axis of ``values`` in that role."""
        return 1 + self.roles.index(role) if role in self.roles else None

    @property
    def by_step(self) -> np.ndarray:
        """The values with the time axis behind that of the samples, (N, T, ...); of an input that has one."""
        time = self.axis_of("time")
        assert time is not None
        return np.moveaxis(self.values, time, 1)

    @property
    def steps(self) -> int | None:
        """How many timesteps there are."""
        time = self.axis_of("time")
        return None if time is None else self.values.shape[time]


@dataclass(frozen=True)
class Valid:
    """The real steps of one input.

    Attributes:
        mask: (N, T); None where nothing says that any is padding.
        source: the position of the input that says so; None where it is the array itself.
        note: what was taken for what.
    """

    mask: np.ndarray | None = None
    source: int | None = None
    note: str = ""


def valid_steps(form: Form, others: Sequence[Form]) -> Valid:
    """The real steps of ``form``.

    Its own lengths say it, or the mask that the model itself makes of it, or else an input that is not explained.
    Lengths are a whole number for each sample, called after lengths, or with only one value behind them, or with all
    that the model reads before them. Lengths of 0 or above T are taken by no name, since models differ in what they
    make of them. A mask is a truth value, or 0 and 1, for each step; what its True means is told by which steps hold
    one value only, else by which of them the model reads, else by its name, else by lying at the beginning. Where
    nothing tells, every step counts, and the note says so.

    Args:
        others: all inputs in their order.
    """
    steps = form.steps
    if steps is None:
        return Valid()
    if form.lengths is not None:
        return Valid(_until(form.lengths, steps))
    own = Valid() if form.own_mask is None else _by_own_mask(form, form.own_mask)
    if own.mask is not None:
        return own
    unclear = []
    for read in (_by_lengths, _by_mask):
        found = []
        for i, other in enumerate(others):
            told = None if other.is_explained else read(form, steps, other)
            if told is None:
                continue
            mask, what = told
            if mask is None:
                unclear.append(other.name)
            elif not mask.all():
                found.append(Valid(mask, i, f"Input {other.name!r} was taken as {what} of {form.name!r}."))
            else:
                found.append(Valid(None, i))
        if found and all(_same(found[0].mask, each.mask) for each in found):
            return found[0]
        unclear += [others[each.source].name for each in found if each.source is not None]
    if unclear:
        return Valid(
            note=f"It cannot be told whether {', '.join(map(repr, dict.fromkeys(unclear)))} says which steps of "
            f"{form.name!r} are padding: all steps were counted."
        )
    return own


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


def _until(lengths: np.ndarray, steps: int) -> np.ndarray | None:
    mask = np.arange(steps) < np.asarray(lengths).reshape(-1, 1)
    return None if mask.all() else mask


def _by_own_mask(form: Form, own: OwnMask) -> Valid:
    if own.padding is None:
        return Valid(
            note=f"The model leaves out steps of {form.name!r} by a mask that it computes on the way, and it cannot be "
            "told which steps are padding: all steps were counted."
        )
    values = form.by_step
    mask = (values != own.padding).reshape(*values.shape[:2], -1).any(-1)
    what = f"Steps of {form.name!r} that are {own.padding:g} throughout are padding, as in the model"
    if not mask.any():
        return Valid(note=f"{what}, and no other is there: all steps were counted.")
    return Valid() if mask.all() else Valid(mask, note=f"{what}.")


_Told = tuple[np.ndarray | None, str] | None
"""The real steps (N, T), None where it cannot be told, and what as; or that it is none of the kind."""


def _by_lengths(form: Form, steps: int, other: Form) -> _Told:
    samples, lengths = len(form.values), other.values.reshape(-1)
    is_candidate = other.values.dtype.kind in "iu" and steps > 1 and other.values.shape[:1] == lengths.shape
    if not is_candidate or len(lengths) != samples or (lengths < 0).any():
        return None
    is_named, is_usual = bool(_LENGTHS.search(other.name)), bool(((lengths >= 1) & (lengths <= steps)).all())
    readings = [np.arange(steps) < n.reshape(-1, 1) for n in (lengths, np.maximum(lengths, 1))]
    mask = readings[0]
    if not is_usual and not is_named and mask.all():  # a year, an amount: nothing would be padding
        return None
    if not mask.any():
        return None, "the lengths"
    if (is_named and is_usual) or _is_constant(form, ~mask):
        return mask, "the lengths"
    answers = [form.reads_only(reading) for reading in readings]
    if not is_usual and not is_named and not any(answers) and None not in answers:
        return None
    return next((r for r, is_read in zip(readings, answers, strict=True) if is_read), None), "the lengths"


def _by_mask(form: Form, steps: int, other: Form) -> _Told:
    true = _one_for_each_step(other.values, len(form.values), steps)
    if true is None:
        return None
    if not true.size:
        return None, "a mask"
    if true.all() or not true.any():
        return np.ones_like(true), "a mask"
    readings = {"real": true, "padding": ~true}
    usable = {what: valid for what, valid in readings.items() if valid.any(1).all()}
    constant = [what for what, valid in usable.items() if _is_constant(form, ~valid)]
    read = [what for what, valid in readings.items() if len(constant) != 1 and form.reads_only(valid)]
    if len(constant) == 1:
        chosen = constant[0]
    elif len(read) == 1:
        chosen, usable = read[0], readings
    elif _PADDING.search(other.name):
        chosen = "padding"
    elif _VALID.search(other.name) or (true[:, :-1] >= true[:, 1:]).all():
        chosen = "real"
    else:
        return None, "a mask"
    return usable.get(chosen), f"a mask in which True is a {chosen} step"


def _one_for_each_step(values: np.ndarray, samples: int, steps: int) -> np.ndarray | None:
    """Truth values (N, T) of an input, which may have further axes along which they are the same.

    Empty where there is an axis of the steps, and it cannot be told what is said of each of them; None where there is
    none.
    """
    if values.dtype.kind not in "biu" or values.shape[:1] != (samples,) or not np.isin(values, (0, 1)).all():
        return None
    places = [axis for axis in range(1, values.ndim) if values.shape[axis] == steps]
    if not places:
        return None
    rows = [np.moveaxis(values, axis, 1).reshape(samples, steps, -1).astype(bool) for axis in places]
    same = [each[..., 0] for each in rows if (each == each[..., :1]).all()]
    return same[0] if same else np.empty((0, steps), bool)


def _is_constant(form: Form, where: np.ndarray) -> bool:
    """Whether the steps (N, T) that are chosen all hold one value."""
    chosen = form.by_step[where]
    return bool(chosen.size) and bool((chosen == chosen.flat[0]).all())


def require_lengths(forms: Sequence[Form]) -> None:
    """Refuse lengths that came as a coordinate and cannot be, or are not those that the model itself is given.

    Raises:
        InputError: not whole numbers from 1 to the number of timesteps, or another input says otherwise; with the
            sample.
    """
    for form in forms:
        steps, lengths = form.steps, form.lengths
        if steps is None or lengths is None:
            continue
        is_number = lengths.dtype.kind in "iuf"
        fits = is_number & np.isin(lengths, np.arange(1, steps + 1))
        if not fits.all():
            n = int(np.argmin(fits))
            raise InputError(
                f"the coordinate 'length' is {lengths[n]} for sample {_called(form, n)}, and there are {steps} "
                "timesteps",
                where=form.name,
                hint=f"Lengths are whole numbers from 1 to {steps}: the steps of each sample before its padding.",
            )
        if not form.is_explained:
            continue
        told = valid_steps(replace(form, lengths=None), forms)
        if told.source is None or (told.mask is None and not _is_about_steps(forms[told.source].name)):
            continue
        own = np.full(len(lengths), steps) if told.mask is None else told.mask.sum(1)
        if (own != lengths).any():
            n = int(np.argmax(own != lengths))
            raise InputError(
                f"the coordinate 'length' is {lengths[n]} for sample {_called(form, n)}, and by "
                f"{forms[told.source].name!r} it has {int(own[n])} steps",
                where=form.name,
                hint="Give both the same lengths, or drop the coordinate: array.drop_vars('length').",
            )


def float_masks(forms: Sequence[Form]) -> list[str]:
    """Notes on floats that look and are called like a mask: they are explained, and say nothing of padding."""
    return [
        f"Input {form.name!r} has floats 0 and 1 for each step, as a mask has: it is explained as a feature, and no "
        "step is taken as padding by it. If it is a mask, give it as truth values or whole numbers."
        for form in forms
        if form.is_explained and form.values.dtype.kind == "f" and _is_mask_name(form.name)
        if np.isin(form.values, (0, 1)).all()
        and any(_is_one_for_each_step(form.values.astype(bool), other) for other in forms if other is not form)
    ]


def _is_one_for_each_step(values: np.ndarray, other: Form) -> bool:
    found = None if other.steps is None else _one_for_each_step(values, len(other.values), other.steps)
    return found is not None and bool(found.size)


def _is_mask_name(name: str) -> bool:
    return bool(_PADDING.search(name) or _VALID.search(name) or "mask" in name.lower())


def _is_about_steps(name: str) -> bool:
    return bool(_LENGTHS.search(name)) or _is_mask_name(name)


def _called(form: Form, sample: int) -> str:
    return repr(form.labels[0][sample].item()) if 0 in form.labels else str(sample)
