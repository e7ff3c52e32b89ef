package pgstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the schema's history.
type migration struct {
	version int
	sql     string
}

// migrations are in order; their names are their numbers.
var migrations = func() (list []migration) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err)
	}
	slices.Sort(names)
	for i, name := range names {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, "migrations/"), ".sql"))
		data, failed := migrationFiles.ReadFile(name)
		if err != nil || failed != nil || n != i+1 {
			panic("pgstore: the migration " + name + " is out of order")
		}
		list = append(list, migration{n, string(data)})
	}
	return list
}()

// racing are the codes with which PostgreSQL answers those who make the same
// thing at the same moment, IF NOT EXISTS or not.
var racing = []string{codeUnique, "42P07", "42P06", "42710", codeSerialization, codeDeadlock, "XX000"}

const racingTries = 20

// migrate brings the schema to the newest version. Any number of nodes can do
// so at once.
func (s schema) migrate(ctx context.Context, conn *pgx.Conn) (err error) {
	for try := range racingTries {
		if err = s.migrateOnce(ctx, conn); err == nil || !slices.Contains(racing, codeOf(err)) {
			break
		}
		time.Sleep(time.Duration(try) * 10 * time.Millisecond)
	}
	if err != nil {
		return away(fmt.Sprintf("preparing the schema %q", string(s)), err)
	}
	return nil
}

func (s schema) migrateOnce(ctx context.Context, conn *pgx.Conn) error {
	version, err := s.version(ctx, conn)
	// There is no such table, or schema, or whoever made them got no further.
	if code := codeOf(err); code == "42P01" || code == "3F000" || err == nil && version == 0 {
		if err := s.bootstrap(ctx, conn); err != nil {
			return err
		}
		version, err = s.version(ctx, conn)
	}
	newest := migrations[len(migrations)-1].version
	if err != nil || version == newest {
		return err
	}
	return pgx.BeginTxFunc(ctx, conn, long(abandonAfter), func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, s.q(`SELECT version FROM {s}.schema_version WHERE version = 0 FOR UPDATE`)); err != nil {
			return err
		}
		// Somebody else may have done it meanwhile.
		if version, err = s.version(ctx, tx); err != nil {
			return err
		}
		if version > newest {
			return fmt.Errorf("%w: the schema %q has version %d, and this version of the program knows versions up to %d",
				capture.ErrNewerFormat, string(s), version, newest)
		}
		for _, m := range migrations[version:] {
			if _, err := tx.Conn().PgConn().Exec(ctx, s.q(m.sql)).ReadAll(); err != nil {
				return fmt.Errorf("migration %d: %w", m.version, err)
			}
			if _, err := tx.Exec(ctx, s.q(`INSERT INTO {s}.schema_version (version) VALUES ($1)`), m.version); err != nil {
				return err
			}
		}
		return s.found(ctx, tx)
	})
}

// bootstrap makes what migrations need themselves.
func (s schema) bootstrap(ctx context.Context, conn *pgx.Conn) error {
	// Who may not make schemas may have been given one.
	there := false
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)`, string(s)).Scan(&there)
	if err == nil && !there {
		_, err = conn.Exec(ctx, s.q(`CREATE SCHEMA IF NOT EXISTS {s}`))
	}
	if err != nil {
		return err
	}
	for _, sql := range []string{
		`CREATE TABLE IF NOT EXISTS {s}.schema_version (version int PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())`,
		`INSERT INTO {s}.schema_version (version) VALUES (0) ON CONFLICT DO NOTHING`,
	} {
		if _, err := conn.Exec(ctx, s.q(sql)); err != nil {
			return err
		}
	}
	return nil
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func (s schema) version(ctx context.Context, q querier) (version int, err error) {
	err = q.QueryRow(ctx, s.q(`SELECT coalesce(max(version), 0) FROM {s}.schema_version`)).Scan(&version)
	return version, err
}

// found gives a new store what it is known by.
func (s schema) found(ctx context.Context, tx pgx.Tx) error {
	secret, err := clickid.NewSecret()
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, s.q(`INSERT INTO {s}.store (id, secret) VALUES ($1, $2) ON CONFLICT DO NOTHING`), newToken(), secret)
	return err
}
