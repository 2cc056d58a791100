"""Deciding whether the program inside a .pt2 file is safe to give to ``torch.export.load``.

Besides pickles, the program's own JSON can run code while PyTorch 2.13 reads it: symbolic sizes go through
``sympify`` (an ``eval``), guards and node names become Python source that is executed, operator names are
looked up attribute by attribute from ``torch``, and tree specs import modules by name. So every string in it
must be one that ordinary programs have; anything else is refused, with the string in the error.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.torch_programs import operators
from explain_core.untrusted.json_reader import JsonError, read_json

_PLAIN = re.compile(r"[\w.\- ]*", re.ASCII)  # cannot call anything, wherever it ends up
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*|", re.ASCII)
_ATEN = "torch.ops.aten."
_OTHER_CALL = re.compile(
    r"torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond|while_loop|scan|map_impl)"
    r"|torch\.sym_(int|float|max|min|not|ite|sqrt|sum)"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|lshift|rshift)"
    r"|math\.(ceil|floor|trunc|sqrt)",
    re.ASCII,
)
_STRIDED = 7  # the number of the ordinary layout
_MOST_VALUES = 20_000_000
_DEEPEST = 150  # real programs are about 20 deep
_TREE_TYPES = {
    None,
    "builtins.tuple",
    "builtins.list",
    "builtins.dict",
    "collections.OrderedDict",
    "torch.Size",
}
_KEPT_METADATA = (
    "nn_module_stack",
    "torch_fn",
    "stack_trace",
)  # plain text to the reader; the rest is parsed

_EXPRESSION_NODES = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
    ast.Name,
    ast.Constant,
    ast.Call,
    ast.keyword,
    ast.Subscript,
)
_FUNCTION = re.compile(
    "Symbol|Integer|Float|Rational|Max|Min|Abs|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|Pow|Mul|Add|floor|ceiling|FloorDiv"
    "|ModularIndexing|Where|PythonMod|Mod|CleanDiv|CeilToInt|FloorToInt|CeilDiv|PowByNatural"
    "|FloatPow|FloatTrueDiv|IntTrueDiv|IsNonOverlappingAndDenseIndicator|TruncToFloat|TruncToInt|RoundToInt"
    "|RoundDecimal|ToFloat|Identity"
)
_SYMBOL = re.compile(r"[a-z]{1,4}\d*|L|oo|int_oo|zoo", re.ASCII)
_TEXT = re.compile(r"[A-Za-z_]\w{0,60}|\d{1,40}(\.\d{0,40})?(e[+-]?\d{1,3})?", re.ASCII)  # names, and numbers in quotes
_POWERS = ("Pow", "PowByNatural", "FloatPow")
_MOST_POWER = 64


def check_program(text: bytes, where: str) -> dict[str, Any]:
    """Return the program of ``models/model.json`` when nothing in it can run code.

    Metadata that only PyTorch's own tools read is dropped on the way.

    Raises:
        ModelFileError: names the string that ordinary programs do not have.
    """
    program = json_of(text, where)
    if not isinstance(program, dict):
        raise ModelFileError("The program in the file is no program.", where=where, hint="Export the model again.")
    _drop_metadata(program)
    _require_strided(program, where)
    for key, value in _strings(program):
        _check_string(key, value, where)
    return with_safe_twins(program)


def json_of(text: bytes, where: str) -> Any:
    """The JSON of an entry of the archive, when it is no deeper and no larger than programs are.

    Raises:
        ModelFileError: it is, or it is damaged.
    """
    try:
        return read_json(text, most_values=_MOST_VALUES, deepest=_DEEPEST)
    except JsonError as error:
        raise ModelFileError(
            f"The JSON of the exported program {error}.", where=where, hint="Copy the file again, or export the model."
        ) from None


def with_safe_twins(program: Any) -> Any:
    """The same JSON with the operations that check nothing replaced by those that do; see `operators.SAFE_TWINS`."""
    if isinstance(program, dict):
        return {
            key: _safe_twin(value) if key == "target" and isinstance(value, str) else with_safe_twins(value)
            for key, value in program.items()
        }
    return [with_safe_twins(value) for value in program] if isinstance(program, list) else program


def _safe_twin(target: str) -> str:
    name, _, overload = target.removeprefix(_ATEN).partition(".")
    twin = operators.SAFE_TWINS.get(name)
    return target if twin is None or not target.startswith(_ATEN) else f"{_ATEN}{twin}.{overload}"


def on_cpu(program: Any) -> Any:
    """The same JSON with every device set to the CPU, so that a program exported on a GPU opens anywhere."""
    if isinstance(program, dict):
        if set(program) == {"type", "index"} and isinstance(program["type"], str):
            return {"type": "cpu", "index": None}
        return {key: on_cpu(value) for key, value in program.items()}
    if isinstance(program, list):
        return [on_cpu(value) for value in program]
    return program


def _require_strided(value: Any, where: str) -> None:
    """That every tensor has the ordinary layout; no kernel looks at the indices of sparse ones."""
    if isinstance(value, list):
        for inner in value:
            _require_strided(inner, where)
    elif isinstance(value, dict):
        if value.get("as_layout", _STRIDED) != _STRIDED or ("strides" in value and value.get("layout") != _STRIDED):
            raise refuse_code("a tensor of another layout than the ordinary one", where)
        _require_strided([*value.values()], where)


def _drop_metadata(value: Any) -> None:
    if isinstance(value, dict):
        if isinstance(value.get("metadata"), dict):
            value["metadata"] = {
                key: text for key, text in value["metadata"].items() if key in _KEPT_METADATA and isinstance(text, str)
            }
        for inner in value.values():
            _drop_metadata(inner)
    elif isinstance(value, list):
        for inner in value:
            _drop_metadata(inner)


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string of the program with the key it stands under; keys themselves stand under ""."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield "", name
            if name != "metadata":
                yield from _strings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key)


def _check_string(key: str, value: str, where: str) -> None:
    if key in ("target", "as_operator"):
        _check_call(value, where)
        fine = True
    elif key == "expr_str":
        fine = _is_arithmetic(value)
    elif key == "guards_code":
        fine = _is_arithmetic(value, inputs=True)
    elif key in ("in_spec", "out_spec"):
        fine = _is_plain_tree(value)
    elif key in ("name", "as_name", "forward_arg_names"):
        fine = _IDENTIFIER.fullmatch(value) is not None
    elif key in ("as_string", "as_strings", "torch_version"):
        fine = True  # only ever data: the equation of an einsum, a padding mode
    else:
        fine = _PLAIN.fullmatch(value) is not None
    if not fine:
        raise refuse_code(f"{key or 'key'} {value[:120]!r}", where)


def _check_call(target: str, where: str) -> None:
    """What is called must be on the list of operations, or a function of numbers."""
    if target.startswith(_ATEN):
        if not operators.target_is_allowed(_safe_twin(target).removeprefix(_ATEN)):
            raise operators.refusal(target[:120], where)
    elif _OTHER_CALL.fullmatch(target) is None:
        raise refuse_code(f"the call of {target[:120]!r}", where)


def _is_arithmetic(text: str, *, inputs: bool = False) -> bool:
    """Whether an expression has only numbers, symbols, known functions and, in guards, sizes of inputs."""
    if len(text) > 10_000:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_arithmetic_node(node, inputs) for node in ast.walk(tree))


def _is_arithmetic_node(node: ast.AST, inputs: bool) -> bool:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _TEXT.fullmatch(node.value) is not None
        return isinstance(node.value, float) or (isinstance(node.value, int) and node.value < 2**64)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _is_small_power(node.left, node.right)
    if isinstance(node, ast.Name):
        return _FUNCTION.fullmatch(node.id) is not None or _SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute):  # L['x'].size()[1] is the one form that guards use
            return inputs and function.attr in ("size", "stride", "storage_offset") and not node.args
        if not isinstance(function, ast.Name) or _FUNCTION.fullmatch(function.id) is None:
            return False
        return function.id not in _POWERS or (len(node.args) == 2 and _is_small_power(*node.args))
    if isinstance(node, ast.Attribute):
        return inputs and node.attr in ("size", "stride", "storage_offset")
    if isinstance(node, ast.Subscript):
        return inputs
    return isinstance(node, _EXPRESSION_NODES)


def _is_small_power(base: ast.AST, exponent: ast.AST) -> bool:
    """Whether a power is of a size, and to a small number: powers of powers have more digits than memory holds."""
    if isinstance(exponent, ast.Call) and len(exponent.args) == 1:  # Integer(2)
        exponent = exponent.args[0]
    if isinstance(exponent, ast.UnaryOp):
        exponent = exponent.operand
    number = exponent.value if isinstance(exponent, ast.Constant) else None
    inside = list(ast.walk(base))
    nested = any(isinstance(node, ast.Pow) or (isinstance(node, ast.Name) and node.id in _POWERS) for node in inside)
    return isinstance(number, (int, float)) and abs(number) <= _MOST_POWER and not nested


def _is_plain_tree(text: str) -> bool:
    try:
        spec = read_json(text, most_values=_MOST_VALUES, deepest=_DEEPEST)
    except JsonError:
        return False
    return isinstance(spec, list) and len(spec) == 2 and isinstance(spec[0], int) and _is_plain_tree_node(spec[1])


def _is_plain_tree_node(node: Any) -> bool:
    if not isinstance(node, dict) or node.get("type") not in _TREE_TYPES:
        return False
    context = node.get("context")
    if not (context is None or isinstance(context, str)) or "__enum__" in (context or ""):
        return False
    try:
        names = read_json(context, most_values=_MOST_VALUES, deepest=_DEEPEST) if context else None
    except JsonError:
        return False
    if isinstance(names, list) and not all(isinstance(n, str) and _PLAIN.fullmatch(n) for n in names):
        return False
    children = node.get("children_spec")
    return isinstance(children, list) and all(_is_plain_tree_node(child) for child in children)


def refuse_code(what: str, where: str) -> ModelFileError:
    """The error for a file that could run code when it is opened."""
    return ModelFileError(
        f"The file is refused: {what} could run code while the file is opened.",
        where=where,
        hint="Models exported from ordinary layers do not have this. If you trust the file, open it in "
        "Python and give the live model to explain_core.explain.",
    )
