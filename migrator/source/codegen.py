"""Readable Flax source of a port: one class for each kind of block, standing alone beside JAX and Flax."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from migrator.errors import MigratorError, UnsupportedOp
from migrator.graph import BATCH, Binding, Dtype, Graph, Perm, Structure, TensorSpec
from migrator.layout import LOGICAL, Operand, inverse
from migrator.module import Step, plan
from migrator.ops import RULES
from migrator.ops.elementwise import identity
from migrator.port import Migrated
from migrator.source.blocks import ModuleBlock, group
from migrator.source.calls import HOMES, explicit_arguments, infix, takes_all
from migrator.source.inline import Library
from migrator.source.text import (
    LOADING,
    PART,
    PRECISION,
    ClassText,
    Line,
    Names,
    identifier,
    import_lines,
    last_words,
    quoted,
)

FLOATING = "dtype"
"""Stands among the values of a graph for the type in which the network runs."""


def to_source(migrated: Migrated) -> str:
    """Write a port as a Python module that needs JAX and Flax, but neither torch nor this package.

    Its Flax class takes the port's variables: ``Network().apply(port.variables, x)``.

    Args:
        migrated: the port.

    Returns:
        The text of the module. The last class in it is the network.

    Raises:
        UnsupportedOp: something in the graph cannot be written.

    Example:
        >>> import torch
        >>> from migrator import migrate, to_source
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).eval()
        >>> port = migrate(net, torch.zeros(2, 4))
        >>> lines = to_source(port).splitlines()
        >>> lines[lines.index("class Network(Part):") + 6].strip()
        'layer_0 = linear(input_, self.tensor("params/0.kernel"), self.tensor("params/0.bias"))  # [N, 8]'

    """
    try:
        return _CodeGenerator(migrated.graph).module()
    except MigratorError:
        raise
    except Exception as error:  # a graph from a file may say of its values what makes no sense
        raise UnsupportedOp(f"this graph cannot be written as source ({type(error).__name__}: {error})") from error


@dataclass
class _Scope:
    """The values that the class being written knows, as text."""

    path: str
    names: Names
    texts: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)


class _CodeGenerator:
    """Writes the classes of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps = {step.node.name: step for step in plan(graph)}
        self.bindings = {binding.name: binding for binding in graph.bindings}
        self.perms: dict[str, Perm] = {binding.name: binding.perm for binding in graph.bindings}
        self.perms |= {name: step.placed.perm for name, step in self.steps.items()}
        self.users: dict[str, list[str]] = {}
        for name, step in self.steps.items():
            for used in self._used(step):
                self.users.setdefault(used, []).append(name)
        self.library = Library()
        self.library.imports |= {"nn": "from flax import linen as nn", "jnp": "import jax.numpy as jnp"}
        self.library.imports["load_file"] = "from safetensors.numpy import load_file"
        self.classes: dict[tuple[Any, ...], ClassText] = {}
        self.class_names = Names({"Part"}, classes=True)

    def module(self) -> str:
        """Return the whole text."""
        root = group(tuple(self.steps.values()), self.graph.modules)
        name = self._class(root, [value.name for value in self.graph.inputs])
        needs_precision = any(FLOATING in self._used(step) for step in self.steps.values())
        if needs_precision:
            self.library.imports["jax"] = "import jax"
        sections = [
            self._header(name),
            import_lines(self.library.imports.values()),
            LOADING.strip(),
            *[PRECISION.strip()] * needs_precision,
            *self.library.definitions.values(),
            PART.strip(),
            *(kind.text().strip() for kind in self.classes.values()),
        ]
        return sections[0] + "\n\n" + "\n\n\n".join(sections[1:]) + "\n"

    def _header(self, name: str) -> str:
        arguments = ", ".join(identifier(value.name) for value in self.graph.inputs)
        shapes = "; ".join(f"{identifier(value.name)} {value.spec}" for value in self.graph.inputs)
        return (
            f'"""{name} in Flax, written by ``migrator source`` from a verified port of a PyTorch module.\n\n'
            f'    variables = load_variables("model.safetensors")\n'
            f"    outputs = {name}().apply(variables, {arguments})\n\n"
            f"Inputs and outputs are as in torch: {shapes}. Inside, images are stored channels-last.\n"
            f"Shapes stand at the ends of lines where there is room and all that share a class agree; N is the batch.\n"
            f"There is no ``init`` or training mode: the variables are the port's; only the batch size may change.\n"
            f'"""'
        )

    def _class(self, block: ModuleBlock, inputs: list[str]) -> str:
        """The name of the class that computes a block, which is written unless an equal one was."""
        is_root = block.path == ""
        scope = _Scope(block.path, Names(set()))
        for value in inputs:
            wanted = identifier(value) if is_root else self._input_name(value)
            scope.texts[value] = scope.names.new(wanted)
        signature = ", ".join(["self", *scope.texts.values()])
        if is_root:
            for value in inputs:
                text = scope.texts[value]
                scope.lines.append(Line(text, "jnp.asarray", (text,)))
            if any(FLOATING in self._used(step) for step in block.steps()):
                arguments = ("self.variables", *scope.texts.values())
                scope.texts[FLOATING] = scope.names.new("dtype")
                scope.lines.append(Line(scope.texts[FLOATING], "precision", arguments))
        self._body(block, scope)
        outputs = [ref.name for ref in self.graph.outputs] if is_root else self._outputs(block)
        placed = [self._text(scope, Operand(name, LOGICAL if is_root else self._perm(name))) for name in outputs]
        returned = _nested(self.graph.structure, placed) if is_root else ", ".join(placed)
        key = (block.kind, signature, returned, tuple(line.text(comments=False) for line in scope.lines))
        if key in self.classes:
            known = self.classes[key]
            known.paths.append(block.path)
            known.comments &= known.lines == scope.lines
            return known.name
        kind = "Network" if is_root and block.kind in ("Sequential", "Module") else block.kind
        name = self.class_names.new(kind)
        self.classes[key] = ClassText(name, block.kind, signature, scope.lines, returned, [block.path])
        return name

    def _input_name(self, value: str) -> str:
        if value == FLOATING:
            return "dtype"
        if value in self.bindings:
            return self.bindings[value].path[-1]
        return "x" if isinstance(self.graph.results.get(value), TensorSpec) else "size" if value == BATCH else "values"

    def _perm(self, name: str) -> Perm:
        return self.perms.get(name, LOGICAL)

    def _outputs(self, block: ModuleBlock) -> list[str]:
        inside = {step.node.name for step in block.steps()}
        wanted = {ref.name for ref in self.graph.outputs}
        return [
            name
            for name in (step.node.name for step in block.steps())
            if not self._is_size(name)
            and (name in wanted or any(user not in inside for user in self.users.get(name, ())))
        ]

    def _inputs(self, block: ModuleBlock) -> list[str]:
        inside = {step.node.name for step in block.steps()}
        free = dict.fromkeys(name for step in block.steps() for name in self._used(step) if name not in inside)
        inputs = [name for name in free if not self._belongs(name, block.path)]
        if BATCH in inputs and any(self._batch_axis(name) is not None for name in inputs):
            inputs.remove(BATCH)
        return inputs

    def _belongs(self, name: str, path: str) -> bool:
        """Whether a value is a tensor stored under a path."""
        parts = tuple(path.split(".")) if path else ()
        return name in self.bindings and self.bindings[name].path[: len(parts)] == parts

    def _body(self, block: ModuleBlock, scope: _Scope) -> None:
        for item in block.items:
            if isinstance(item, ModuleBlock):
                self._call_block(item, scope)
            else:
                self._call_operator(item, scope)

    def _call_block(self, block: ModuleBlock, scope: _Scope) -> None:
        inputs, outputs = self._inputs(block), self._outputs(block)
        name = self._class(block, inputs)
        relative = _relative(block.path, scope.path)
        arguments = tuple(self._text(scope, Operand(value, self._perm(value))) for value in inputs)
        targets = [scope.names.new(last_words(relative)) for _ in outputs]
        scope.texts |= dict(zip(outputs, targets, strict=True))
        comment = self._shape(outputs[0]) if len(outputs) == 1 else ""
        scope.lines.append(Line(", ".join(targets), f"self.part({name}, {quoted(relative)})", arguments, comment))

    def _call_operator(self, step: Step, scope: _Scope) -> None:
        node, rule = step.node, RULES[step.node.op]
        if node.op == "operator.getitem" and isinstance(node.args[1], int):
            source = step.placed.args[0]
            alone = self._one_of_several(source.name)
            text = self._text(scope, source)
            scope.texts[node.name] = text if alone else f"{text}[{node.args[1]}]"
            return
        if rule.apply is identity:
            scope.texts[node.name] = self._text(scope, step.placed.args[0])
            return
        if self._is_size(node.name):
            return  # written where it is used
        if node.op == "aten.slice.Tensor" and takes_all(node.args):
            scope.texts[node.name] = self._text(scope, step.placed.args[0])
            return
        call, arguments = self._expression(step, scope)
        alone = self._one_of_several(node.name)
        shaped = alone if alone is not None else node.name
        target = scope.names.new(self._target(step, scope.path))
        scope.texts[node.name] = target
        index = f"[{self.steps[alone].node.args[1]}]" if alone is not None else ""
        scope.lines.append(Line(target, call, arguments, self._shape(shaped), index))

    def _one_of_several(self, name: str) -> str | None:
        """The ``getitem`` that takes the only one of several results that is used."""
        users = self.users.get(name, [])
        single = len(users) == 1 and name in self.steps and isinstance(self.graph.results[name], tuple)
        if not single or name in {ref.name for ref in self.graph.outputs}:
            return None
        node = self.steps[users[0]].node
        same = self.steps[name].node.module == node.module
        return node.name if same and node.op == "operator.getitem" and isinstance(node.args[1], int) else None

    def _target(self, step: Step, path: str) -> str:
        relative = _relative(step.node.module, path)
        name = step.node.op.split(".")[1].strip("_")
        return last_words(relative) if relative else name

    def _shape(self, name: str) -> str:
        """The shape of a value as it is stored."""
        spec = self.graph.results.get(name)
        if not isinstance(spec, TensorSpec):
            return ""
        perm = self._perm(name)
        return f"[{', '.join(str(spec.shape[axis]) for axis in (perm or range(len(spec.shape))))}]"

    def _expression(self, step: Step, scope: _Scope) -> tuple[str, tuple[str, ...] | None]:
        rule: Any = RULES[step.node.op].apply
        partial = isinstance(rule, functools.partial)
        function, fixed = (rule.func, dict(rule.keywords)) if partial else (rule, {})
        args = [self._argument(scope, value) for value in step.placed.args]
        kwargs = {key: self._argument(scope, value) for key, value in step.placed.kwargs}
        named = explicit_arguments(function, step.placed.args, dict(step.placed.kwargs) | fixed, args, kwargs)
        sign = infix(function)
        if sign and len(named) == 2 and not any("=" in argument for argument in named):
            return f"{named[0]} {sign} {named[1]}", None
        return self._function(function), tuple(named)

    def _function(self, function: Callable[..., Any]) -> str:
        module, name = getattr(function, "__module__", "") or "", getattr(function, "__name__", "")
        if module.startswith("migrator."):
            self.library.add(module, name)
            return name
        for prefix, home, line in HOMES:
            found = next((key for key, value in vars(home).items() if value is function), None)
            if found:
                self.library.imports[prefix.partition(".")[0]] = line
                return f"{prefix}.{found}"
        if module in ("_operator", "operator"):
            self.library.imports["operator"] = "import operator"
            return f"operator.{name}"
        return name

    def _argument(self, scope: _Scope, value: Any) -> str:
        if isinstance(value, Operand):
            return self._text(scope, value)
        if isinstance(value, Dtype):
            if value.dtype == "float32":
                return scope.texts[FLOATING]
            if value.dtype == "complex64":
                return f"jnp.result_type({scope.texts[FLOATING]}, jnp.complex64)"
            self.library.imports["jax"] = "import jax"
            return f'jax.dtypes.canonicalize_dtype("{value.dtype}")'
        if isinstance(value, tuple):
            items = ", ".join(self._argument(scope, item) for item in value)
            return f"({items},)" if len(value) == 1 else f"({items})"
        if isinstance(value, float) and not math.isfinite(value):
            return "jnp.nan" if math.isnan(value) else ("jnp.inf" if value > 0 else "-jnp.inf")
        return quoted(value) if isinstance(value, str) else repr(value)

    def _is_size(self, name: str) -> bool:
        """Whether a value is a plain number that comes from the size of the batch."""
        if name not in self.steps or self.graph.results[name] is not None:
            return False
        node = self.steps[name].node
        return node.op == "aten.sym_size.int" or infix(RULES[node.op].apply) is not None

    def _size(self, scope: _Scope, name: str) -> str:
        """The text of such a number."""
        node, placed = self.steps[name].node, self.steps[name].placed
        if node.op != "aten.sym_size.int":
            left, right = (self._argument(scope, value) for value in placed.args)
            return f"({left} {infix(RULES[node.op].apply)} {right})"
        spec = self.graph.results[placed.args[0].name]
        size = str(spec.shape[placed.args[1]]) if isinstance(spec, TensorSpec) else BATCH
        if not re.fullmatch(rf"[{BATCH}\d+\-*/() ]+", size):
            raise UnsupportedOp(f"{name} is a size of {size!r}, which cannot be written as source")
        return re.sub(rf"\b{BATCH}\b", self._batch(scope), size if size.isalnum() else f"({size})")

    def _batch(self, scope: _Scope) -> str:
        """The text of the size of the batch."""
        if BATCH in scope.texts:
            return scope.texts[BATCH]
        axes = ((scope.texts[name], self._batch_axis(name)) for name in scope.texts)
        return next(f"{text}.shape[{axis}]" for text, axis in axes if axis is not None)

    def _batch_axis(self, name: str) -> int | None:
        """The axis of a value, as it is stored, that is as long as the batch."""
        spec = self.graph.results.get(name)
        if not isinstance(spec, TensorSpec) or BATCH not in spec.shape:
            return None
        return (self._perm(name) or tuple(range(len(spec.shape)))).index(spec.shape.index(BATCH))

    def _used(self, step: Step) -> list[str]:
        """The values that a step reads; ``FLOATING`` and ``BATCH`` stand for that type and the size of the batch."""

        def walk(value: Any) -> list[str]:
            if isinstance(value, Operand):
                return [BATCH if self._is_size(value.name) else value.name]
            if isinstance(value, Dtype):
                return [FLOATING] * (value.dtype in ("float32", "complex64"))
            return [name for item in value for name in walk(item)] if isinstance(value, tuple) else []

        if self._is_size(step.node.name):
            return []
        return list(dict.fromkeys(walk((step.placed.args, tuple(value for _, value in step.placed.kwargs)))))

    def _text(self, scope: _Scope, operand: Operand) -> str:
        name = operand.name
        if name == BATCH:
            return self._batch(scope)
        if self._is_size(name):
            return self._size(scope, name)
        if name in scope.texts:
            text = scope.texts[name]
        else:
            binding = self.bindings[name]
            text = f"self.tensor({quoted(f'{binding.collection}/{_relative_path(binding, scope.path)}')})"
        source, target = self._perm(name), operand.perm
        if source == target or not isinstance(self.graph.results.get(name), TensorSpec):
            return text
        rank = len(self.graph.results[name].shape)  # type: ignore[union-attr]
        axes = inverse(source) if source else tuple(range(rank))
        if target:
            if len(target) > rank:
                text = f"jnp.transpose({text}, {axes})" if source else text
                text, axes = f"{text}[{', '.join(['None'] * (len(target) - rank))}]", tuple(range(len(target)))
            axes = tuple(axes[axis] for axis in target)
        return text if axes == tuple(range(len(axes))) else f"jnp.transpose({text}, {axes})"


def _nested(structure: Structure, outputs: list[str]) -> str:
    """The text of the network's outputs, nested as in torch."""
    if isinstance(structure, tuple):
        return f"({''.join(f'{_nested(item, outputs)}, ' for item in structure).strip()})"
    if isinstance(structure, dict):
        return f"{{{', '.join(f'{quoted(key)}: {_nested(item, outputs)}' for key, item in structure.items())}}}"
    return "None" if structure is None else outputs[structure]


def _relative(path: str, base: str) -> str:
    return path[len(base) + 1 :] if base and path.startswith(f"{base}.") else ("" if path == base else path)


def _relative_path(binding: Binding, base: str) -> str:
    return ".".join(binding.path[len(base.split(".")) if base else 0 :])
