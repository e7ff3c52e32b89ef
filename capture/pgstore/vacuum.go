package pgstore

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
)

// vacuumPatience is how long an erasure waits for the old versions of rows to be
// removed. What takes longer is left to the next sweep.
const vacuumPatience = 5 * time.Second

// erasingFor is longer than an erasure takes: it is noted with the time at which it
// began.
const erasingFor = time.Hour

// vacuum removes what was erased from the tables' files, at once and not when
// autovacuum finds that it is worth it: of blocks the partitions of some days.
// Versions that somebody's open transaction may still look at stay until the next
// time.
func (s *Store) vacuum(ctx context.Context, conn *pgxpool.Conn, days []time.Time) error {
	there, err := s.daysOf(ctx, conn, days)
	if err != nil {
		return err
	}
	tables := []string{s.q("{s}.ledger"), s.q("{s}.journal")}
	for _, day := range there {
		tables = append(tables, s.partition(day))
	}
	for _, table := range tables {
		// Giving space back to the disk would lock everybody out for a moment.
		if _, err := conn.Exec(ctx, `VACUUM (TRUNCATE false) `+table); err != nil && codeOf(err) != codeNoTable {
			return err
		}
	}
	return nil
}

// daysOf returns those of some days that have a partition.
func (s *Store) daysOf(ctx context.Context, q querier, days []time.Time) ([]time.Time, error) {
	rows, err := q.Query(ctx, s.q(`SELECT day FROM {s}.days WHERE day = ANY($1::date[]) ORDER BY day`), days)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[time.Time])
}

// daysOfClick are those in whose partitions a click's block may be.
func daysOfClick(second uint32) []time.Time {
	day := dayOf(time.Unix(int64(second), 0))
	return []time.Time{day.AddDate(0, 0, -1), day}
}

// vacuumErased is for a sweep: it removes what was erased since the last one, on
// whatever node.
func (s *Store) vacuumErased(ctx context.Context, conn *pgxpool.Conn) error {
	since := s.vacuumed.Load()
	var begin time.Time // by the clock by which erasures are noted
	if err := conn.QueryRow(ctx, `SELECT now()`).Scan(&begin); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, s.q(`SELECT click FROM {s}.erased WHERE at > $1`), time.UnixMilli(since))
	if err != nil {
		return err
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil || len(keys) == 0 {
		return err
	}
	var days []time.Time
	for _, key := range keys {
		days = append(days, daysOfClick(binary.BigEndian.Uint32(key[11:15]))...) // as of clickid.Ref.Key
	}
	if err := s.vacuum(ctx, conn, days); err != nil {
		// It is the database's own business on servers that know no VACUUM, and
		// where the tables are somebody else's.
		s.e.log().Warn("what was erased is still in the files of the database until its own vacuum has removed it",
			zap.String("store", s.e.Key()), zap.Error(err))
		return nil
	}
	s.vacuumed.Store(begin.Add(-erasingFor).UnixMilli())
	return nil
}
