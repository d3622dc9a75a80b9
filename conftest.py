"""pytest over the notebooks: every `nbs/**/*.ipynb` is one test, run by nbdev in this process, with the failing cell in the report."""
import contextlib, gc, inspect, os, re, signal, sys, traceback, warnings
from pathlib import Path
from unittest import mock

os.environ.setdefault('MPLBACKEND', 'Agg')
import pytest

root = Path(__file__).resolve().parent
nbs = root/'nbs'


def pytest_make_parametrize_id(config, val, argname):
    "The name of a class or function, without its address in memory: processes that run side by side compare what they have collected"
    if inspect.isclass(val) or inspect.isroutine(val): return val.__name__


def pytest_collect_file(file_path, parent):
    if file_path.suffix != '.ipynb' or nbs not in file_path.parents: return
    if any(o[0] in '_.' for o in file_path.relative_to(nbs).parts): return  # what nbdev leaves out: checkpoints, drafts
    return NotebookFile.from_parent(parent, path=file_path)


class NotebookFile(pytest.File):
    def collect(self): yield NotebookItem.from_parent(self, name='cells')


class NotebookError(Exception):
    "A cell failed; the message is the whole report"


class NotebookItem(pytest.Item):
    "All cells of a notebook that nbdev's `tst_flags` do not leave out"
    def runtest(self):
        from execnb.shell import CaptureShell
        from nbdev import test
        from nbdev.config import get_config
        cfg, shells = get_config(root), []
        def shell(*args, **kwargs):  # test_nb says only that it failed: keep its shell, which knows the cell and the exception
            shells.append(CaptureShell(*args, **kwargs))
            return shells[-1]
        with _undone(shells), mock.patch.object(test, 'CaptureShell', shell):
            ok, _ = test.test_nb(self.path, skip_flags=cfg.tst_flags.split(), basepath=root, showerr=False, cell_timeout=cfg.cell_timeout)
            if not ok: raise NotebookError(_report(self.path, shells[-1]))

    def repr_failure(self, excinfo):
        return str(excinfo.value) if isinstance(excinfo.value, NotebookError) else super().repr_failure(excinfo)

    def reportinfo(self): return self.path, None, self.path.relative_to(root).as_posix()


def _report(path, shell):
    "The failing cell, and the traceback from that cell on"
    from fastcore.nbio import read_nb
    exc, n = shell.exc, (shell._cell_idx or 1) - 1
    if exc is None: return f'{path.relative_to(root)}: failed outside its cells; `nbdev-test --path {path.relative_to(root)}` says more'
    tb = exc.__traceback__
    while tb.tb_next and re.search(r'[\\/](nbdev|execnb|IPython|asyncio|concurrent)[\\/]', tb.tb_frame.f_code.co_filename): tb = tb.tb_next
    cell = ''.join(f'    {o}' for o in ''.join(read_nb(path).cells[n].source).splitlines(True))
    brief = (str(exc).strip().splitlines() or [''])[0]
    return f'cell {n}: {type(exc).__name__}: {brief}\n\n{cell}\n\n' + ''.join(traceback.format_exception(type(exc), exc, tb))


def _patched_classes():
    "The classes that notebooks may patch: those of tsfast, and fastai's Learner"
    from fastai.learner import Learner
    mods = [m for k, m in list(sys.modules.items()) if k.split('.')[0] == 'tsfast' and m is not None]
    return {Learner, *(o for m in mods for o in vars(m).values() if isinstance(o, type) and o.__module__ == m.__name__)}

def _give_back(cls, attrs):
    "Put the attributes of a class back"
    for k in set(vars(cls)) - set(attrs):
        if not k.startswith('__'): delattr(cls, k)    # Python itself adds some of the others on first use
    for k, v in attrs.items():
        if vars(cls).get(k) is not v: setattr(cls, k, v)

@contextlib.contextmanager
def _undone(shells):
    "What a notebook run changes in the process, put back, so that what runs next does not notice"
    import matplotlib, matplotlib.pyplot as plt
    from IPython.core.interactiveshell import InteractiveShell
    env, path, main, sigint = dict(os.environ), list(sys.path), sys.modules['__main__'], signal.getsignal(signal.SIGINT)
    # a notebook defines again what its module has patched into classes and dispatched functions: those of the module come back, and the
    # architectures and kinds that it registered for show go; so do the verbs of the command line
    import tsfast.all, tsfast.cli, tsfast.training
    from tsfast.core import seeded
    from fastai.interpret import plot_top_losses
    from tsfast.cli.parsing import commands
    from tsfast.conformal import Uncertainty
    from tsfast.data.targets import TSTarget
    from tsfast.models import registry
    from tsfast.models.scaling import SeriesModule
    registered = [(o, dict(o)) for o in (registry._archs, registry._wrappers, commands, TSTarget.kinds, SeriesModule.kinds, Uncertainty.kinds)]
    classes = {o: dict(vars(o)) for o in _patched_classes()}
    dispatched = [m.implementation for m in plot_top_losses.methods]
    hooks = sys.displayhook, sys.excepthook
    try:
        with seeded(0), matplotlib.rc_context(): yield    # a cell that draws without a seed draws the same in every run
    finally:
        for k in shells:
            k.close()
            if not k.loop.is_running(): k.loop.close()
        with warnings.catch_warnings():  # IPython keeps every shell until exit, its data need not stay; a temporary folder may end with its notebook
            warnings.simplefilter('ignore', ResourceWarning)
            for k in shells: k.user_ns.clear(); k.exc = k.result = None
            gc.collect()
        InteractiveShell._instance = None
        for cls, attrs in classes.items(): _give_back(cls, attrs)
        for f in dispatched: plot_top_losses.dispatch(f)
        for now, before in registered:
            now.clear()
            now.update(before)
        os.environ.clear(); os.environ.update(env)
        sys.path[:], sys.modules['__main__'] = path, main
        sys.displayhook, sys.excepthook = hooks
        signal.signal(signal.SIGINT, sigint)
        plt.close('all'); plt.switch_backend('Agg')
