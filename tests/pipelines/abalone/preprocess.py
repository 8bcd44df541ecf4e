"""Splits the table into train, validation and test, one-hot encodes `sex`, scales the rest."""

from pathlib import Path

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler

BASE = Path("/opt/ml/processing")

table = pd.read_csv(BASE / "input" / "abalone.csv")
rings = table.pop("rings")
numeric = [name for name in table.columns if name != "sex"]
encode = ColumnTransformer(
    [("numeric", StandardScaler(), numeric), ("sex", OneHotEncoder(), ["sex"])]
)
encoded = pd.DataFrame(encode.fit_transform(table))
encoded.insert(0, "rings", rings)
train, rest = train_test_split(encoded, test_size=0.3, random_state=1)
validation, test = train_test_split(rest, test_size=0.5, random_state=1)
for name, part in (("train", train), ("validation", validation), ("test", test)):
    part.to_csv(BASE / name / f"{name}.csv", header=False, index=False)
print(f"{len(train)} rows to train on")
