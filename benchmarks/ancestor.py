"""What this project's ancestor did with a review, as the comparison.

Its method (https://github.com/mxagar/sentiment_rnn_aws_deployment): strip markup with
BeautifulSoup, keep letters and digits, leave out the stop words by asking nltk's corpus anew for
each word, stem by Porter, encode by a dictionary of 5,000 words, pad to 500, one LSTM of 100 units
over 32 numbers a word. The weights here are random: they do not change how long it takes.
"""

from __future__ import annotations

import re
from pathlib import Path

import nltk
import torch
from bs4 import BeautifulSoup
from nltk.corpus import stopwords
from nltk.stem.porter import PorterStemmer
from torch import nn

from model.stop_words import STOP_WORDS

WORDS, WORD_DIM, STATE_DIM, LENGTH = 5000, 32, 100, 500
NO_WORD, INFREQUENT_WORD = 0, 1


class Ancestor:
    """`folder` is where nltk shall find its corpus of stop words, which is a download otherwise."""

    def __init__(self, folder: Path, texts: list[str]) -> None:
        corpus = folder / "corpora" / "stopwords"
        corpus.mkdir(parents=True)
        (corpus / "english").write_text("\n".join(sorted(STOP_WORDS)), "utf-8")
        nltk.data.path.insert(0, str(folder))
        known = dict.fromkeys(PorterStemmer().stem(word) for text in texts for word in split(text))
        self._ids = {word: number for number, word in enumerate(list(known)[: WORDS - 2], 2)}
        self._embedding = nn.Embedding(WORDS, WORD_DIM, padding_idx=NO_WORD)
        self._lstm = nn.LSTM(WORD_DIM, STATE_DIM)
        self._output = nn.Linear(STATE_DIM, 1)

    def judge(self, review: str) -> float:
        """The probability of being positive."""
        words = [word for word in split(review) if word not in stopwords.words("english")]
        return self._read(words)

    def judge_reading_stop_words_once(self, review: str) -> float:
        """The same without its costliest habit: what the rest of the method takes."""
        return self._read([word for word in split(review) if word not in STOP_WORDS])

    @torch.inference_mode()
    def _read(self, words: list[str]) -> float:
        stems = [PorterStemmer().stem(word) for word in words][:LENGTH]
        ids = [self._ids.get(stem, INFREQUENT_WORD) for stem in stems]
        tokens = torch.tensor(ids + [NO_WORD] * (LENGTH - len(ids)))[:, None]  # (T, 1)
        states, _ = self._lstm(self._embedding(tokens))  # (T, 1, H)
        probability: torch.Tensor = torch.sigmoid(self._output(states[len(ids) - 1]))
        return probability.item()


def split(review: str) -> list[str]:
    """Lower-case words without markup."""
    text = BeautifulSoup(review, "html.parser").get_text().lower()
    return re.sub(r"[^a-z0-9]", " ", text).split()
