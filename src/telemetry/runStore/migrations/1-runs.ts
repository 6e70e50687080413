/** Times are milliseconds since 1970. Numbers that are NaN or infinite are null. */
export const firstMigration = `
-- What a person means by a run: it may be stopped and continued many times.
CREATE TABLE runs (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  -- Where its checkpoints are, relative to the store: by it a resumed run finds its record.
  output TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  -- The run whose checkpoint it began with, where that is another one.
  parent TEXT,
  parent_step INTEGER
) STRICT;
CREATE INDEX runs_by_output ON runs (output);

-- A stretch of steps in order: from a start, a resume or a rewind up to the next one. Steps after from_step in
-- earlier sessions of the run are superseded.
CREATE TABLE sessions (
  number INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES runs (number),
  cause TEXT NOT NULL CHECK (cause IN ('start', 'resume', 'rewind')),
  from_step INTEGER NOT NULL,
  last_step INTEGER NOT NULL,
  total_steps INTEGER,
  started_ms INTEGER NOT NULL,
  -- When the record was last written: for a process that was killed, its last sign of life.
  seen_ms INTEGER NOT NULL,
  ended_ms INTEGER,
  -- completed, interrupted, failed, rewound; null while it runs, or when it was killed.
  outcome TEXT,
  reason TEXT,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  -- JSON: the resolved configuration; git revision; processors, memory, devices, versions.
  config TEXT NOT NULL,
  git TEXT,
  machine TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_by_run ON sessions (run);

-- Many steps a row: a summary for quick answers, and every step in data (src/telemetry/runStore/blockCodec.ts).
CREATE TABLE blocks (
  session INTEGER NOT NULL REFERENCES sessions (number),
  first_step INTEGER NOT NULL,
  steps INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL,
  loss_min REAL,
  loss_mean REAL,
  loss_max REAL,
  loss_last REAL,
  norm_mean REAL,
  norm_max REAL,
  rate_last REAL,
  -- Steps whose gradient was clipped; steps whose loss or norm is not a number.
  clipped INTEGER NOT NULL,
  not_finite INTEGER NOT NULL,
  tokens REAL NOT NULL,
  seconds REAL NOT NULL,
  data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX blocks_by_step ON blocks (session, first_step);

-- The newest steps, as they came: merged into one row of blocks when they fill it.
CREATE TABLE tails (
  session INTEGER NOT NULL REFERENCES sessions (number),
  first_step INTEGER NOT NULL,
  steps INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (session, first_step)
) STRICT, WITHOUT ROWID;

CREATE TABLE evaluations (
  session INTEGER NOT NULL REFERENCES sessions (number),
  step INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  loss REAL
) STRICT;
CREATE INDEX evaluations_by_session ON evaluations (session);

CREATE TABLE checkpoints (
  session INTEGER NOT NULL REFERENCES sessions (number),
  step INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  path TEXT NOT NULL,
  bytes INTEGER,
  seconds REAL,
  blocked_seconds REAL
) STRICT;
CREATE INDEX checkpoints_by_session ON checkpoints (session);

CREATE TABLE events (
  session INTEGER NOT NULL REFERENCES sessions (number),
  step INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  text TEXT NOT NULL,
  -- JSON
  details TEXT
) STRICT;
CREATE INDEX events_by_session ON events (session);

-- Bytes in use per tier; a row when it changed by more than a hundredth of the budget.
CREATE TABLE memory (
  session INTEGER NOT NULL REFERENCES sessions (number),
  step INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  tier TEXT NOT NULL,
  label TEXT,
  used_bytes INTEGER NOT NULL,
  budget_bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX memory_by_session ON memory (session);

-- Means per step of what moved between tiers, and what compute waited for.
CREATE TABLE movements (
  session INTEGER PRIMARY KEY REFERENCES sessions (number),
  steps INTEGER NOT NULL,
  step_seconds REAL NOT NULL,
  compute_seconds REAL NOT NULL,
  -- JSON: bytes and busy seconds per lane; bytes at rest per tier.
  lanes TEXT NOT NULL,
  plan TEXT NOT NULL
) STRICT;
CREATE TABLE stalls (
  session INTEGER NOT NULL REFERENCES sessions (number),
  cause TEXT NOT NULL,
  seconds REAL NOT NULL,
  PRIMARY KEY (session, cause)
) STRICT, WITHOUT ROWID;
`;
