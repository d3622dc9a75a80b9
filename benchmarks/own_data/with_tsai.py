"The tasks with tsai 1.0.1"
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit
from tsai.all import *


def windows(file):
    "Windows of the recordings in a table, labelled by their last step; validation on other subjects"
    df = pd.read_csv(file)
    channels = ['ax', 'ay', 'az']
    X, y, subjects = SlidingWindowPanel(100, ['subject'], stride=50, get_x=channels, get_y=['activity'], horizon=0,
                                        sort_by=['time'], check_leakage=False, return_key=True, verbose=False)(df)
    train, valid = next(GroupShuffleSplit(1, test_size=.2, random_state=0).split(X, y, subjects))
    dls = get_ts_dls(X.astype(np.float32), y, splits=(list(train), list(valid)), tfms=[None, TSClassification()],
                     batch_tfms=TSStandardize(by_var=True))
    learn = ts_learner(dls, FCN, metrics=accuracy)
    learn.fit_one_cycle(5, 1e-2)
    return learn


def recordings(folder):
    "A folder of recordings of unequal length; validation on other subjects"
    labels = pd.read_csv(Path(folder)/'labels.csv')
    series = [pd.read_csv(Path(folder)/name).to_numpy().T for name in labels['file']]
    X = pad_sequences(series, padding='post', dtype=np.float32)
    y = labels['activity'].to_numpy()
    train, valid = next(GroupShuffleSplit(1, test_size=.2, random_state=0).split(X, y, labels['subject']))
    dls = get_ts_dls(X, y, splits=(list(train), list(valid)), tfms=[None, TSClassification()],
                     batch_tfms=[TSStandardize(by_var=True), TSNan2Value(0)])
    learn = ts_learner(dls, FCN, metrics=accuracy)
    learn.fit_one_cycle(5, 1e-2)
    return learn


def predict(learn, file):
    "The windows of a new recording, as a table"
    df = pd.read_csv(file)
    channels = ['ax', 'ay', 'az']
    X, _ = SlidingWindow(100, stride=50, get_x=channels, get_y=[])(df)
    probas, _, preds = learn.get_X_preds(X.astype(np.float32))
    start = np.arange(len(X))*50
    table = pd.DataFrame(dict(start=df['time'].to_numpy()[start], end=df['time'].to_numpy()[start + 99], label=preds))
    for i, c in enumerate(learn.dls.vocab): table[f'p({c})'] = probas[:, i]
    return table


if __name__ == '__main__':
    learn = windows(f'{sys.argv[1]}/gait.csv')
    print(predict(learn, f'{sys.argv[1]}/new.csv').head())
    recordings(f'{sys.argv[1]}/recordings')
