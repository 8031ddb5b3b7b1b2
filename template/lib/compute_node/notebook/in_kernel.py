"""The variables of a Python kernel, kept in a file and brought back: the kernel runs this for variables.py.

One pickle for each variable, all by one pickler: what variables share, they share again, as a model and the optimizer
that holds its parameters. Modules come back by their names, and what the notebook's cells define (def, class, lambda)
by its source: so it finds the notebook's variables again, as it does in a session. Only what the environment has anyway
is needed, IPython and the standard library; words for people are the caller's.
"""

import ast
import importlib
import json
import os
import pickle
import sys
import time
import types

SEEDS = (
    ("random", "getstate", "setstate"),
    ("numpy.random", "get_state", "set_state"),
    ("torch", "get_rng_state", "set_rng_state"),
)
"""Where random numbers come from, in no variable: module, its functions that say and set where they are."""


class TooMuch(Exception):
    """There is no room or no time left for a variable."""


class _Bounded:
    """A file to write to, or none to see how much it would be, with an end to size and time."""

    def __init__(self, size, end, file=None):
        self.left, self.end, self.file = size, end, file

    def write(self, data):
        """Write some bytes."""
        self.left -= memoryview(data).nbytes
        if self.left < 0:
            raise TooMuch("size")
        if time.monotonic() > self.end:
            raise TooMuch("time")
        if self.file:
            self.file.write(data)


class _Pickler(pickle.Pickler):
    """Writes down what comes back, and refuses what would come back as something else."""

    def __init__(self, file, main, names):
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.main = main
        self.lambdas = {id(vars(main).get(name)): name for name in names}
        self.names = names

    def reducer_override(self, value):
        if isinstance(value, types.ModuleType):
            if sys.modules.get(value.__name__) is not value:
                raise pickle.PicklingError
            return importlib.import_module, (value.__name__,)
        if isinstance(value, (types.FunctionType, type)) and value.__module__ == "__main__":
            if value.__qualname__ == "<lambda>" and id(value) in self.lambdas:
                return getattr, (self.main, self.lambdas[id(value)])
            # by its name; its source has to bring it back
            if value.__qualname__.split(".")[0] not in self.names:
                raise pickle.PicklingError
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Reads variables; define: runs the definitions that could not run before some variable was there."""

    def __init__(self, file, names, define):
        super().__init__(file)
        self.names, self.define = names, define

    def find_class(self, module, name):
        if module == "__main__" and name.split(".")[0] not in self.names:
            self.define()
        return super().find_class(module, name)


def main(shell, request):
    """Do what a file asks for; write down what was lost, {name: why}, beside it."""
    with open(request, encoding="utf-8") as file:
        asked = json.load(file)
    lost = {"keep": keep, "restore": restore}[asked.pop("do")](shell, **asked)
    with open(os.path.join(os.path.dirname(request), "answer.json"), "w", encoding="utf-8") as file:
        json.dump({"lost": lost}, file)


def keep(shell, path, sources, size, seconds):
    """Write the variables into a file; return those that cannot be, with their types, or "size" or "time"."""
    end, names = time.monotonic() + seconds, {name for _, names in _definitions(shell, sources) for name in names}
    kept, lost, left = [], {}, size
    for name, attribute, value in _items(shell, names):
        trial = _Bounded(left, end)
        try:
            _Pickler(trial, shell.user_module, names).dump((name, attribute, value))
        except TooMuch as error:
            lost[_called(name, attribute)] = str(error)
        # whatever a class of somebody's raises
        except (Exception, KeyboardInterrupt):
            lost[_called(name, attribute)] = type(value).__name__
        else:
            kept.append((name, attribute, value))
            left = trial.left
    words = {"count": len(kept), "lost": lost, "sources": sources, "folder": os.getcwd()}
    # the environment may be elsewhere then
    words["search"] = [entry for entry in sys.path if entry and not entry.startswith((sys.prefix, sys.base_prefix))]
    words["seeds"] = {module: getattr(sys.modules[module], get)() for module, get, _ in SEEDS if module in sys.modules}
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        pickle.dump(words, file)
        pickler = _Pickler(_Bounded(size, end, file), shell.user_module, names)
        for item in kept:
            pickler.dump(item)
        file.flush()
        os.fsync(file.fileno())
    return lost


def restore(shell, path):
    """Bring the variables back out of a file; return those that had not been kept; raises whatever reading one does."""
    names, before, pending = shell.user_ns, {*shell.user_ns}, []
    with open(path, "rb") as file:
        words = pickle.load(file)
        sys.path += [entry for entry in words["search"] if entry not in sys.path]
        os.chdir(words["folder"])

        def define():
            for code in [*pending]:
                try:
                    exec(code, names)  # noqa: S102 - the notebook's own
                # a decorator, a default, a base that is a variable: once it is there, or never
                except Exception:
                    continue
                pending.remove(code)

        pending += [code for code, _ in _definitions(shell, words["sources"])]
        define()
        reader, kept = _Unpickler(file, names, define), set()
        for _ in range(words["count"]):
            name, attribute, value = reader.load()
            kept.add(name)
            if attribute:
                setattr(names[name], attribute, value)
            else:
                names[name] = value
    for module, _, put in SEEDS:
        if module in words["seeds"]:
            getattr(importlib.import_module(module), put)(words["seeds"][module])
    # what had been deleted, or replaced by what could not be kept
    for name in {*names} - before - kept:
        del names[name]
    return words["lost"]


def _called(name, attribute):
    return f"{name}.{attribute}" if attribute else name


def _items(shell, names):
    """Yield (name, None, value) of each variable, (name, attribute, value) of what a definition has got since."""
    variables = {
        name: value
        for name, value in shell.user_ns.items()
        # IPython's own are _, _i, _1
        if name != "_" and not name.startswith("__") and shell.user_ns_hidden.get(name, ...) is not value
    }
    for name, value in variables.items():
        yield name, None, value
    for name in names & {*variables}:
        value = variables[name]
        if isinstance(value, types.FunctionType):
            yield from ((name, part, getattr(value, part)) for part in ("__defaults__", "__kwdefaults__"))
        if type(value) in (type, types.FunctionType):
            for attribute, part in [*vars(value).items()]:
                if not attribute.startswith("_") and not hasattr(part, "__get__"):
                    yield name, attribute, part


def _definitions(shell, sources):
    """Yield (code, names) of each statement of these cells that imports or defines something."""
    for number, source in enumerate(sources):
        text = shell.transform_cell(source)
        try:
            statements = ast.parse(text).body
        except (SyntaxError, ValueError):
            continue
        # where inspect finds it again
        file = shell.compile.cache(text, number)
        for part in statements:
            if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names = [part.name]
            elif isinstance(part, ast.Assign) and isinstance(part.value, ast.Lambda):
                names = [target.id for target in part.targets if isinstance(target, ast.Name)]
            elif isinstance(part, (ast.Import, ast.ImportFrom)):
                names = []
            else:
                continue
            yield shell.compile(ast.Module([part], []), file, "exec"), names
