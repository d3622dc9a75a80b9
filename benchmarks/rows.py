"""What the benchmarks of accuracy share: rows in a CSV file that are written one at a time, scores, and the data sets"""
import csv, os, platform
from datetime import date
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS, CACHE = HERE/'results', HERE/'.cache'/'probs'
FIELDS = ['dataset', 'arch', 'seed', 'recipe', 'epochs', 'bs', 'lr', 'wd', 'label_smoothing', 'n_train', 'n_test',
          'accuracy', 'balanced_accuracy', 'log_loss', 'train_loss', 'seconds', 'device', 'threads', 'tsfast', 'torch', 'fastai', 'date']

# data sets that tell methods apart; those where nearly all methods are perfect, which only catch gross errors; the large ones
TELLING = 'ItalyPowerDemand SonyAIBORobotSurface1 MoteStrain ECG200 ArrowHead FaceFour Beef Lightning7 OSULeaf'.split()
SATURATED = 'Coffee GunPoint ECGFiveDays TwoLeadECG CBF Trace Plane SyntheticControl'.split()
LARGE = 'SwedishLeaf Adiac ECG5000 ChlorineConcentration'.split()
GAPS = 'DodgerLoopGame PickupGestureWiimoteZ'.split()
MULTIVARIATE = 'BasicMotions RacketSports NATOPS JapaneseVowels'.split()
GROUPS = dict(telling=TELLING, saturated=SATURATED, large=LARGE, gaps=GAPS, multivariate=MULTIVARIATE,
              univariate=TELLING+SATURATED+LARGE+GAPS)


def read_rows(file=RESULTS/'accuracy.csv'):
    "All whole rows; one that a crash cut short is left out"
    if not Path(file).exists(): return []
    with open(file, newline='', encoding='utf-8') as f: rows = list(csv.DictReader(f))
    return [r for r in rows if None not in r.values() and None not in r]

def _before(fd, fields):
    "What has to be written before a row: a header, or the end of a line that a crash cut short"
    size = os.fstat(fd).st_size
    if not size: return ','.join(fields) + '\n'
    return '' if os.pread(fd, 1, size - 1) == b'\n' else '\n'

def append_row(row, file=RESULTS/'accuracy.csv', fields=FIELDS):
    "One write of one line, so that processes that write to the same file do not mix their rows"
    file.parent.mkdir(parents=True, exist_ok=True)
    line = ','.join(str(row.get(k, '')) for k in fields) + '\n'
    fd = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try: os.write(fd, (_before(fd, fields) + line).encode())
    finally: os.close(fd)

def write_part(file, *parts):
    "A part of the results page: its paragraphs and tables"
    file.write_text('\n\n'.join(parts) + '\n', encoding='utf-8')
    return file

def versions():
    import fastai, torch, tsfast
    device = torch.cuda.get_device_name().replace(',', '') if torch.cuda.is_available() else f'cpu {platform.machine()}'
    return dict(tsfast=tsfast.__version__, torch=torch.__version__, fastai=fastai.__version__, date=date.today().isoformat(),
                threads=torch.get_num_threads(), device=device)

def scores(probs, targs):
    from sklearn.metrics import balanced_accuracy_score
    pred = probs.argmax(1)
    of_true = np.clip(probs[np.arange(len(targs)), targs], 1e-7, 1)
    return dict(accuracy=round(float((pred == targs).mean()), 6), balanced_accuracy=round(float(balanced_accuracy_score(targs, pred)), 6),
                log_loss=round(float(-np.log(of_true).mean()), 5))

def probs_file(folder, row):
    "Where the probabilities of a run are kept"
    settings = '-'.join(f'{float(row[k]):g}' for k in ('epochs', 'bs', 'lr'))
    return folder/('_'.join([row['dataset'], row['arch'], row['recipe'], settings, str(row['seed'])]) + '.npz')
