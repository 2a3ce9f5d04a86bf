"""Stores whose records are written by hand."""

import numpy as np
import pytest

from harness.contracts import Generation
from harness.runner.artefacts import pack_json, pack_lines
from harness.tracking.records import Record, Store

IDS = [f"item-{index:03d}" for index in range(120)]
SIGNATURE = "share|items:{digest}|v:1"


class Cells:
    """A store to which finished cells are added one by one."""

    def __init__(self, folder):
        self.store, self.cells = Store(folder), []

    def add(
        self, model, seed, items, *, ids=IDS, family="t2t", signature=SIGNATURE, steps=None, schedule=None, decode="sample",
        settings=None, kept=None, blocks=None, flags=(), asked=None, flops=None, device="toy", **scores,
    ):  # fmt: skip
        """A cell whose value `correct` has these items, and those in `kept` theirs; further values have no items.

        `blocks` are nanoseconds of timed calls at batch 1, if it was timed; `flags` are those of its latency; `asked` is the
        condition of every item; `flops` are those of a request, if they were counted, on `device`.
        """
        digest = f"{len(self.cells):02d}" + "ab" * 15
        texts = [f"{model} {seed} <b>{index}</b>" for index in range(len(ids))]
        answers = [Generation(id=name, texts=(text,), network_calls=1) for name, text in zip(ids, texts, strict=True)]
        asked = asked or {name: f"ask {name.partition('#')[0]}" for name in ids}
        asked = {name: {"condition": condition, "target": None} for name, condition in asked.items()}
        stages = {
            "generate": {"generations.jsonl.gz": pack_lines(answers), "asked.json.gz": pack_json(asked)},
            "select": {"texts.json.gz": pack_json(texts)},
        }  # fmt: skip
        for role, blobs in stages.items():
            names = {name: self.store.put(data) for name, data in blobs.items()}
            self.store.commit(
                self.record(digest, role, blobs=names, result={"n": len(ids), "steps_used": [], "network_calls": 1.0})
            )
        values = {"correct": (float(np.mean(items)), True), **{name: (value, False) for name, value in scores.items()}}
        measured = {
            name: {
                "value": value, "low": None, "high": None, "n": len(ids), "signature": signature.format(digest="a0b1c2"),
                "flags": [], "reason": None, "higher_is_better": higher,
            }
            for name, (value, higher) in values.items()
        }  # fmt: skip
        kept = {"correct": {"rows": list(map(float, items)), "aggregate": "mean", "of_targets": False}, **(kept or {})}
        blobs = {"items.json.gz": self.store.put(pack_json(kept))}
        self.store.commit(self.record(digest, "score/x", blobs=blobs, result={"measurements": measured}))
        if blocks is not None:
            self.store.commit(self.timed(digest, blocks, flags, flops, device))
        roles = (*stages, "score/x", *(["time/16"] if blocks is not None else []))
        self.cells.append({
            "digest": digest, "grid": "g", "model": model, "task": "toy", "family": family, "schedule": schedule, "steps": steps,
            "seed": seed, "decode": decode, "reason": None, "needs": {}, "settings": settings or {},
            "stages": {role: self.key(digest, role) for role in roles},
        })  # fmt: skip
        self.store.snapshot("g", {"grid": "g", "cells": self.cells})
        return digest

    def timed(self, digest, blocks, flags, flops, device):
        value = {"higher_is_better": False, "signature": f"version:2|device_name:{device}|threads:1", "n": int(np.size(blocks))}
        values = {
            "latency_ms_p50": {**value, "value": float(np.median(blocks)) / 1e6, "flags": list(flags)},
            "batched_ratio_to_ar": {**value, "value": None}, "throughput_seq_per_s": {**value, "value": None},
        }  # fmt: skip
        if flops is not None:
            values["flops_per_request"] = {**value, "value": flops, "flags": ["analytic: toy"]}
        raw = {"raw.json.gz": self.store.put(pack_json({"candidate batch 1": np.asarray(blocks).tolist()}))}
        return self.record(digest, "time/16", blobs=raw, result={"values": values, "evidence": {}})

    def key(self, digest, role):
        return (digest + role.replace("/", "").encode().hex() + "0" * 64)[:64]

    def record(self, digest, role, **rest):
        return Record(key=self.key(digest, role), kind=role.partition("/")[0], status="done", **rest)


@pytest.fixture
def cells(tmp_path):
    return Cells(tmp_path / "store")
