package pgstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-capture/caddy-capture/capture"
)

// daysAhead are made before they are needed, by sweeps: so that nobody's click
// waits at midnight for whoever has the table locked, nor if the sweeps of some
// days come to nothing.
const daysAhead = 7

// partition names a day's partition.
func (s schema) partition(day time.Time) string {
	return pgx.Identifier{string(s), "blocks_" + day.Format("20060102")}.Sanitize()
}

// ensureDays makes the partitions that blocks need. To be called by who writes.
func (s *Store) ensureDays(ctx context.Context, blocks []*capture.Block) error {
	var missing []time.Time
	for _, b := range blocks {
		if len(b.Clicks) == 0 {
			continue
		}
		first := b.Clicks[0].Time
		for _, c := range b.Clicks {
			if c.Time.Before(first) {
				first = c.Time
			}
		}
		if day := dayOf(first); !s.days[day] && !slices.Contains(missing, day) {
			missing = append(missing, day)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	conn, err := acquire(ctx, s.write)
	if err != nil {
		return err
	}
	defer giveBack(conn)
	for _, day := range missing {
		if err := s.makeDay(ctx, conn.Conn(), day); err != nil {
			return err
		}
		s.days[day] = true
	}
	return nil
}

// makeAhead makes the partitions of today and the days to come that are not there
// yet.
func (s *Store) makeAhead(ctx context.Context, conn *pgxpool.Conn, now time.Time) error {
	var days []time.Time
	for i := range daysAhead + 1 {
		days = append(days, dayOf(now).AddDate(0, 0, i))
	}
	there, err := s.daysOf(ctx, conn, days)
	for _, day := range days {
		if err == nil && !slices.ContainsFunc(there, day.Equal) {
			err = s.makeDay(ctx, conn.Conn(), day)
		}
	}
	return err
}

// makeDay makes a day's partition, unless there is one. It is made beside the
// table and then attached: that waits for nobody who reads.
func (s schema) makeDay(ctx context.Context, conn *pgx.Conn, day time.Time) (err error) {
	for try := range racingTries {
		err = pgx.BeginTxFunc(ctx, conn, bounded(pgx.ReadCommitted), func(tx pgx.Tx) error {
			return s.attachDay(ctx, tx, day)
		})
		if err == nil || !slices.Contains(racing, codeOf(err)) {
			return err
		}
		time.Sleep(time.Duration(try) * 5 * time.Millisecond)
	}
	return err
}

func (s schema) attachDay(ctx context.Context, tx pgx.Tx, day time.Time) error {
	tag, err := tx.Exec(ctx, s.q(`INSERT INTO {s}.days (day) VALUES ($1) ON CONFLICT DO NOTHING`), day)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	for _, sql := range []string{
		`CREATE TABLE %[1]s (LIKE {s}.blocks INCLUDING DEFAULTS INCLUDING STORAGE)`,
		`ALTER TABLE {s}.blocks ATTACH PARTITION %[1]s FOR VALUES FROM ('%[2]s') TO ('%[3]s')`,
	} {
		text := fmt.Sprintf(sql, s.partition(day), day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly))
		if _, err := tx.Exec(ctx, s.q(text), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

// dropDay drops a day's partition if all of its blocks are older than cutoff.
// It tells how many those were, and whether the partition is gone. It waits only
// for a moment for those who use the table, as all who come later wait for it.
func (s schema) dropDay(ctx context.Context, conn *pgx.Conn, day time.Time, cutoff int64) (blocks int, gone bool, err error) {
	// The counting may take a while, so it is done before anybody has to wait.
	young := 0
	err = conn.QueryRow(ctx, `SELECT count(*) FILTER (WHERE last_ms < $1), count(*) FILTER (WHERE last_ms >= $1) FROM `+s.partition(day), cutoff).
		Scan(&blocks, &young)
	switch {
	case codeOf(err) == codeNoTable:
		// Another node was faster, or a person, who leaves the day behind.
		_, err = conn.Exec(ctx, s.q(`DELETE FROM {s}.days WHERE day = $1 AND to_regclass($2) IS NULL`), day, s.partition(day))
		return 0, false, err
	case err != nil || young > 0:
		return 0, false, err
	}
	err = pgx.BeginTxFunc(ctx, conn, bounded(pgx.ReadCommitted), func(tx pgx.Tx) error {
		for _, sql := range []string{
			`SET LOCAL lock_timeout = '500ms'`,
			`LOCK TABLE ONLY {s}.blocks IN ACCESS EXCLUSIVE MODE`,
		} {
			if _, err := tx.Exec(ctx, s.q(sql), pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
		}
		var late bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+s.partition(day)+` WHERE last_ms >= $1)`, cutoff).Scan(&late)
		if err != nil || late {
			return err
		}
		if _, err := tx.Exec(ctx, `DROP TABLE `+s.partition(day), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		gone = true
		_, err = tx.Exec(ctx, s.q(`DELETE FROM {s}.days WHERE day = $1`), day)
		return err
	})
	if err != nil || !gone {
		blocks, gone = 0, false
	}
	if slices.Contains([]string{codeLockTimeout, codeDeadlock, codeNoTable, codeUnsupported, codeSyntax}, codeOf(err)) {
		err = nil // later, or row by row on a server that cannot
	}
	return blocks, gone, err
}
