package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/pgstore"
	"github.com/caddy-capture/caddy-capture/capture/spool"
)

func init() {
	caddy.RegisterModule(PostgresStore{})
}

// PostgresStore keeps clicks and conversions in a PostgreSQL database that any
// number of Caddies share. While it cannot be reached, they wait in a directory
// of each machine.
type PostgresStore struct {
	// How to reach the database: a URL such as
	// `postgres://user:password@host/database`, or `key=value` pairs. Placeholders
	// such as `{env.DATABASE_URL}` are replaced.
	DSN string `json:"dsn"`
	// The schema that holds the tables. It is made at the first start.
	// Default: `capture`.
	Schema string `json:"schema,omitempty"`
	// A directory of this machine alone, for what waits while the database
	// cannot be reached. It also says which node this is, so it has to stay.
	// Placeholders are replaced. Default: the folder `capture-spool` in Caddy's
	// data directory.
	Spool string `json:"spool,omitempty"`
	// How much may wait in that directory, in bytes. When it is full, postbacks
	// are answered 503 and clicks wait in memory. Default: 10 GiB.
	SpoolSize int64 `json:"spool_size,omitempty"`
	// How many connections to the database are held open, at least 4: two write,
	// and two or more read. Default: 4.
	Pool int `json:"pool,omitempty"`

	dsn, dir string
}

const (
	// maxPool is more than one node can use.
	maxPool = 1000
	// minSpool is what some seconds of a busy site take.
	minSpool = 16 << 20
)

// CaddyModule returns the Caddy module information.
func (PostgresStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "capture.stores.postgres", New: func() caddy.Module { return new(PostgresStore) }}
}

var errNoDSN = errors.New("the connection string is empty: give one such as postgres://user:password@host/database")

// Provision replaces placeholders. It makes nothing on the disk and does not look
// for the database.
func (s *PostgresStore) Provision(caddy.Context) error {
	if strings.TrimSpace(s.DSN) == "" {
		return errNoDSN
	}
	dsn, err := resolveSecret(caddy.NewReplacer(), s.DSN)
	if err != nil {
		return fmt.Errorf("connection string: %w", err)
	}
	s.dsn = strings.TrimSpace(dsn) // a file may end with empty lines
	if s.Spool == "" {
		s.dir = filepath.Join(caddy.AppDataDir(), "capture-spool")
		return nil
	}
	if s.dir, err = caddy.NewReplacer().ReplaceOrErr(s.Spool, true, true); err != nil {
		return fmt.Errorf("spool %q: replacing placeholders: %w", s.Spool, err)
	}
	return nil
}

var schemaName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// Validate looks at what is given without using it.
func (s *PostgresStore) Validate() error {
	if s.dsn == "" {
		return errNoDSN
	}
	if _, err := pgstore.ParseDSN(s.dsn); err != nil {
		return err
	}
	if s.Schema != "" && !schemaName.MatchString(s.Schema) {
		return fmt.Errorf("schema is %q; it has to be of letters, digits and _, at most 63 of them, and not begin with a digit", s.Schema)
	}
	if s.Pool != 0 && (s.Pool < pgstore.MinPool || s.Pool > maxPool) {
		return fmt.Errorf("pool is %d; it has to be between %d and %d", s.Pool, pgstore.MinPool, maxPool)
	}
	if s.SpoolSize != 0 && s.SpoolSize < minSpool {
		return fmt.Errorf("spool_size is %d bytes; it has to be at least %s", s.SpoolSize, humanize.IBytes(minSpool))
	}
	return nil
}

// spoolDeadline is a variable for tests.
var spoolDeadline = spool.DefaultDeadline

// Engine implements StoreModule.
func (s *PostgresStore) Engine(logger *zap.Logger) capture.Engine {
	queue := badgerstore.New(filepath.Join(s.dir, "queue"), logger)
	return &spool.Engine{
		Shared: &pgstore.Engine{DSN: s.dsn, Schema: s.Schema, Pool: s.Pool, Dir: s.dir, Logger: logger},
		OpenQueue: func(ctx context.Context) (spool.Queue, error) {
			q, err := queue.OpenQueue(ctx)
			if err != nil {
				return nil, err // not a nil *Queue in an interface
			}
			return q, nil
		},
		// As a place it is another one than the same directory as an embedded store.
		Deadline: spoolDeadline, Limit: s.SpoolSize, Home: "spool " + queue.Key(), Settings: fmt.Sprintf("%q %q %d", s.dsn, s.Schema, s.Pool),
		Logger: logger,
	}
}

const (
	postgresUsage   = "store postgres <connection string> { schema <name>; spool <directory>; spool_size <size>; pool <connections> }"
	postgresOptions = "schema, spool, spool_size and pool"
)

// UnmarshalCaddyfile reads
//
//	postgres <connection string> {
//		schema     <name>
//		spool      <directory>
//		spool_size <size>
//		pool       <connections>
//	}
func (s *PostgresStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the store
	if !d.NextArg() {
		return wrongArgs(d, postgresUsage)
	}
	if s.DSN = d.Val(); strings.TrimSpace(s.DSN) == "" {
		return d.Err("store postgres: the connection string is empty")
	}
	if d.NextArg() {
		return d.Err("store postgres takes one connection string: put it in quotes if it has spaces")
	}
	once := make(givenOnce)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := once.check(d); err != nil {
			return err
		}
		var err error
		switch option := d.Val(); option {
		case "schema":
			if s.Schema, err = readArg(d, "<name>"); err == nil && !schemaName.MatchString(s.Schema) {
				err = d.Errf("schema is %q; it has to be of letters, digits and _, at most 63 of them, and not begin with a digit", s.Schema)
			}
		case "spool":
			if s.Spool, err = readArg(d, "<directory>"); err == nil && s.Spool == "" {
				err = d.Err("spool: the directory is empty; leave it out for the default")
			}
		case "spool_size":
			var text string
			if text, err = readArg(d, "<size>"); err == nil {
				size, bad := humanize.ParseBytes(text)
				if bad != nil || size < minSpool || size > math.MaxInt64 {
					err = d.Errf("spool_size is %q; it has to be a size such as 20GiB, and at least %s", text, humanize.IBytes(minSpool))
				}
				s.SpoolSize = int64(size) //nolint:gosec // looked at
			}
		case "pool":
			var text string
			if text, err = readArg(d, "<connections>"); err == nil {
				if s.Pool, err = strconv.Atoi(text); err != nil || s.Pool < pgstore.MinPool || s.Pool > maxPool {
					err = d.Errf("pool is %q; it has to be a number between %d and %d", text, pgstore.MinPool, maxPool)
				}
			}
		default:
			err = d.Errf("unknown option %q of store postgres; allowed are %s", option, postgresOptions)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// postgres finds a connection that others could read, and a password that is
// written into the configuration.
func (l *linter) postgres(s *PostgresStore) {
	target, err := pgstore.ParseDSN(s.dsn)
	if err != nil {
		return // which Validate reports
	}
	if target.Clear {
		l.found("database_in_the_clear", "store postgres", "the connection to the database may go over the network without TLS: "+
			"add sslmode=verify-full to the connection string, and sslrootcert where the server's certificate is from an authority of your own")
	}
	if target.Password != "" && (strings.Contains(s.DSN, target.Password) || strings.Contains(decoded(s.DSN), target.Password)) {
		l.found("password_in_configuration", "store postgres", "the password of the database is in the configuration, which the admin API shows: "+
			"put the connection string into the environment, and write {env.DATABASE_URL}")
	}
}

// decoded returns what a URL means, as far as it is one.
func decoded(dsn string) string {
	plain, _ := url.PathUnescape(dsn)
	return plain
}

// Interface guards.
var (
	_ StoreModule           = (*PostgresStore)(nil)
	_ caddy.Provisioner     = (*PostgresStore)(nil)
	_ caddy.Validator       = (*PostgresStore)(nil)
	_ caddyfile.Unmarshaler = (*PostgresStore)(nil)
)
