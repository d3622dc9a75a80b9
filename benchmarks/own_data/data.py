"""Files for the tasks: `gait.csv`, a row for each time step of twelve subjects; `recordings/`, a file of any length for each recording, with
`labels.csv`; and `new.csv`, a recording without labels."""
import sys
from pathlib import Path

import numpy as np
import pandas as pd

SPEED = dict(walk=.2, run=.45, stairs=.3)


def signal(rng, kinds):
    "Three channels, a row for each of the kinds"
    phase = np.cumsum([SPEED[k] for k in kinds])
    channels = [np.sin(phase), np.cos(2*phase), .5*np.sin(phase + 1)]
    return pd.DataFrame({c: v + rng.normal(0, .3, len(kinds)) for c, v in zip(('ax', 'ay', 'az'), channels)}).round(4)


def long(rng, n=600):
    "A minute at ten steps a second, in which the activity changes"
    kinds = np.repeat(rng.choice([*SPEED], n//120), 120)
    return signal(rng, kinds).assign(time=np.arange(n)/10, activity=kinds)


def make(folder, seed=0):
    "Write the files"
    folder, rng = Path(folder), np.random.default_rng(seed)
    (folder/'recordings').mkdir(parents=True, exist_ok=True)
    pd.concat([long(rng).assign(subject=f's{i:02d}') for i in range(12)]).to_csv(folder/'gait.csv', index=False)
    lines = []
    for i in range(60):
        kind, name = [*SPEED][i % 3], f'{i:02d}.csv'
        signal(rng, [kind]*rng.integers(60, 140)).to_csv(folder/'recordings'/name, index=False)
        lines.append(dict(file=name, activity=kind, subject=i//5))
    pd.DataFrame(lines).to_csv(folder/'recordings'/'labels.csv', index=False)
    long(rng).drop(columns='activity').to_csv(folder/'new.csv', index=False)


if __name__ == '__main__': make(sys.argv[1])
