"""What a worker process holds: settings, keys, one connection, the box, models, gallery; each made on first use."""

import contextlib
import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matcher.calibration import Calibration, Cut, derive_cut, find_cut, load_calibration, prefer_own
from matcher.clusters import SAME_PERSON_RATE
from matcher.gallery import Gallery
from matcher.segments import Segments
from matcher.space import Space, load_space
from vault.box import Box, Child
from vault.gate import HashGate, load_gate
from vault.keys import Keys, load_keys
from vault.settings import Settings
from vault.steps import Asker
from vault.store import Connection, DatabaseError, TransactionStatus, connect
from vault.store.alerts import get_own_calibration, save_calibration
from vault.store.clock import GalleryClock
from vault.store.deployment import is_demo
from vault.store.lease import Heartbeat
from vault.store.work import Claim, Share, WorkTable, claim_rows, give_back_rows, put_back_rows
from workers.faces.engine import Engine, load_engine
from workers.faces.packs import get_pack
from workers.pace import Pace, Shares
from workers.pauses import Pauses

PATIENCE_SECONDS = 20.0  # for a database that restarts


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """Rows that this process works on, since when in time.monotonic()."""

    table: WorkTable
    claim: Claim
    since: float


class Context:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.asker = Asker(settings)
        self.hunted_clock = GalleryClock()  # at which every live template was seen to have its hunt
        self.faces_counted = -math.inf  # when kept faces were held against segments, in time.monotonic()
        self.heartbeat = Heartbeat(settings)
        self.pauses = Pauses()
        self._conn: Connection | None = None
        self._claimed: Claimed | None = None
        self._paces: dict[WorkTable, Pace] = {}
        self._shares: dict[WorkTable, Shares] = {}

    @property
    def conn(self) -> Connection:
        """The process's connection; a broken one is replaced. Raises ServerError."""
        if self._conn is None or self._conn.closed or self._conn.broken:
            self._conn = connect(self.settings, patience=PATIENCE_SECONDS)
        return self._conn

    def claim(self, table: WorkTable, most: int, **only: Any) -> Claim | None:
        """Claim rows: at most `most`, and no more than take some seconds here as far as is known. Their lease is
        renewed until the next claim, and they are remembered in case the step fails before it can say anything of
        them."""
        self.let_go()
        pace = self._paces.setdefault(table, Pace())
        limit, shares = pace.limit(most), list[Share]()
        if table.share:
            limit, shares = most, self.shares(table).list(most)
        claim = claim_rows(self.conn, table, limit, fresh_first=not pace.may_retry(), shares=shares, **only)
        if claim is not None:
            self._claimed = Claimed(table=table, claim=claim, since=time.monotonic())
            self.heartbeat.hold(table, claim.ids, claim.token)
        return claim

    def shares(self, table: WorkTable) -> Shares:
        """What the rows of each source cost here."""
        return self._shares.setdefault(table, Shares())

    def let_go(self) -> None:
        """What was claimed is worked off."""
        if self._claimed is not None:
            claimed, self._claimed = self._claimed, None
            self.heartbeat.release(claimed.claim.token)
            self._paces[claimed.table].note(claimed.claim, time.monotonic() - claimed.since)

    def give_back(self) -> None:
        """The step failed at its rows: they are charged, but need not wait for their lease. Raises psycopg.Error,
        ServerError."""
        if self._claimed is not None:
            claimed, self._claimed = self._claimed, None
            self.heartbeat.release(claimed.claim.token)
            give_back_rows(self.conn, claimed.table, claimed.claim)

    def put_back(self, code: str, reason: str, wait: float) -> None:
        """The step failed for a reason that says nothing of its rows: they are not charged, and wait so many seconds.
        Raises psycopg.Error, ServerError."""
        if self._claimed is not None:
            claimed, self._claimed = self._claimed, None
            self.heartbeat.release(claimed.claim.token)
            put_back_rows(self.conn, claimed.table, claimed.claim.ids, claimed.claim.token, code, reason, wait=wait)

    def check_connection(self) -> None:
        """After an error: a connection that is in the middle of something is replaced. One that is sound is kept, for a
        process without a descriptor left could open no other."""
        if self._conn is not None and self._conn.info.transaction_status != TransactionStatus.IDLE:
            self.drop_connection()

    def drop_connection(self) -> None:
        if self._conn is not None:
            with contextlib.suppress(DatabaseError):
                self._conn.close()
        self._conn = None

    @cached_property
    def keys(self) -> Keys:
        return self.space.bind(load_keys(self.settings.key_file))

    @cached_property
    def space(self) -> Space:
        return load_space(self.settings.faces.pack)

    @cached_property
    def box(self) -> Box:
        return Box()

    @cached_property
    def decoder(self) -> Child:
        """A child of the box that opens the pictures of batch after batch, and is replaced now and then."""
        return Child(self.box)

    @cached_property
    def gate(self) -> HashGate:
        return load_gate(self.settings)

    @cached_property
    def engine(self) -> Engine:
        return load_engine(self.settings)

    @cached_property
    def gallery(self) -> Gallery:
        pack = get_pack(self.settings)
        return Gallery(self.settings.home / "index", self.keys, pack=pack.name, dimension=pack.dimension)

    @cached_property
    def segments(self) -> Segments:
        pack = get_pack(self.settings)
        return Segments(
            self.settings.home / "segments",
            pack=pack.name,
            matrix_id=self.keys.matrix_id(pack.dimension),
            dimension=pack.dimension,
        )

    @cached_property
    def is_demo(self) -> bool:
        """Is this the deployment of a demo or a bench?"""
        return is_demo(self.conn)

    @cached_property
    def calibration(self) -> Calibration:
        pack = self.settings.faces.pack
        calibration = prefer_own(load_calibration(pack), get_own_calibration(self.conn, pack))
        save_calibration(self.conn, calibration.calibration_id, calibration.pack, calibration.record)
        return calibration

    @property
    def blobs(self) -> Path:
        return self.settings.home / "blobs"

    def cut(self) -> Cut:
        """The cut that the budget gives for the gallery as it is now."""
        matching = self.settings.matching
        return derive_cut(
            self.calibration,
            false_alerts=matching.false_alerts_per_day,
            faces=matching.faces_per_day,
            templates=self.gallery.template_count,
        )

    def look_alike(self, one: int, other: int) -> bool:
        """Do two templates of enrolled people look like one person, as two faces of a dataset would?"""
        return self.gallery.compare_templates(one, other) >= find_cut(self.calibration, SAME_PERSON_RATE)[0]

    def close(self) -> None:
        self.heartbeat.close()
        self.drop_connection()
        if "decoder" in self.__dict__:
            self.decoder.stop()
        if "box" in self.__dict__:
            self.box.close()
