"""Fits a ridge regression; its coefficients are the model."""

import argparse
import json
from pathlib import Path

import pandas as pd
from sklearn.linear_model import Ridge

parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float, default=1.0)
options = parser.parse_args()

train = pd.read_csv("/opt/ml/input/data/train/train.csv", header=None)
model = Ridge(alpha=options.alpha).fit(train.iloc[:, 1:].to_numpy(), train[0].to_numpy())
Path("/opt/ml/model/model.json").write_text(
    json.dumps({"coefficients": list(model.coef_), "intercept": model.intercept_})
)
