package pgstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	// DefaultSchema and DefaultPool hold where the engine says nothing.
	DefaultSchema = "capture"
	DefaultPool   = 4
	// MinPool is what it takes: those that write, one for reports and one for
	// all else that reads.
	MinPool = writers + 2

	// writers is how many of the pool's connections are kept for commits: one
	// that writes, and one that waits for its turn or renews the lease.
	writers = 2

	connectTimeout = 5 * time.Second
	// idleFor is how long connections are kept that nobody needs any more.
	idleFor = 2 * time.Minute
	// descriptions is how many statements a connection knows the types of.
	descriptions = 512
	// leaseFor is how long a node is taken to be alive after its last sign of it.
	leaseFor = 30 * time.Second
	// lockPatience is how long a lock is waited for: a restart overlaps with the
	// end of the process before.
	lockPatience = 5 * time.Second
	lockRetry    = 50 * time.Millisecond
)

// Engine is a store in a schema of a PostgreSQL database, which any number of
// nodes share.
type Engine struct {
	// DSN says where the database is, as a URL or as key=value pairs.
	DSN string
	// Schema is the schema that holds the tables; "" is DefaultSchema.
	Schema string
	// Pool is how many connections are held open at most; 0 is DefaultPool, and
	// fewer than MinPool are not enough. Listings, backups and sweeps open up to as
	// many more while they run.
	Pool int
	// Dir is a directory of this node alone, for the file that says which node
	// it is.
	Dir    string
	Logger *zap.Logger
	// Now is the clock; nil means the real one.
	Now func() time.Time

	patience, openFor, lookupFor, abandonAfter time.Duration // tests shorten these

	mu sync.Mutex // for the identity
}

var (
	_ capture.Engine = (*Engine)(nil)
	_ capture.Store  = (*Store)(nil)
	_ capture.Tx     = (*tx)(nil)
)

func (e *Engine) log() *zap.Logger {
	if e.Logger == nil {
		return zap.NewNop()
	}
	return e.Logger
}

func (e *Engine) now() time.Time {
	if e.Now == nil {
		return time.Now()
	}
	return e.Now()
}

func (e *Engine) schema() schema { return schema(cmp.Or(e.Schema, DefaultSchema)) }

// Key names servers, database and schema, and nothing secret.
func (e *Engine) Key() string {
	parsed, err := parseDSN(e.DSN)
	if err != nil {
		return fmt.Sprintf("postgres (unreadable connection string) schema %q", string(e.schema()))
	}
	c := parsed.ConnConfig
	hosts := []string{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))}
	for _, f := range c.Fallbacks {
		h := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))
		if hosts[len(hosts)-1] != h { // the same once more is one without TLS
			hosts = append(hosts, h)
		}
	}
	return fmt.Sprintf("postgres %s/%s schema %q", strings.Join(hosts, ","), c.Database, string(e.schema()))
}

// plainSchema is what a schema's name may be: it goes into statements, and into
// the names of partitions.
var plainSchema = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// config is that of a pool of so many connections.
func (e *Engine) config(conns int) (*pgxpool.Config, error) {
	if s := e.schema(); !plainSchema.MatchString(string(s)) {
		return nil, fmt.Errorf("the schema %q cannot be used: its name has to be of letters, digits and _, at most 63 of them", string(s))
	}
	c, err := parseDSN(e.DSN)
	if err != nil {
		return nil, err
	}
	c.MaxConns, c.MinConns, c.MinIdleConns = int32(conns), 0, 0 //nolint:gosec // a few
	c.MaxConnIdleTime, c.ShouldPing = idleFor, noteRest
	// No prepared statement stays on the server: a pooler may give the next
	// transaction another one. The types of parameters are asked for once.
	c.ConnConfig.DefaultQueryExecMode, c.ConnConfig.DescriptionCacheCapacity = pgx.QueryExecModeCacheDescribe, descriptions
	if c.ConnConfig.ConnectTimeout == 0 || c.ConnConfig.ConnectTimeout > time.Minute {
		c.ConnConfig.ConnectTimeout = connectTimeout
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "caddy-capture"
	}
	c.ConnConfig.RuntimeParams["client_encoding"] = "UTF8" // whatever the role or the database says
	if c.ConnConfig.ValidateConnect == nil {
		// Only the primary takes writes, whatever its name leads to at the moment.
		c.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	c.ConnConfig.OnNotice = noteWarning
	return c, nil
}

func (e *Engine) pool(ctx context.Context, conns int) (*pgxpool.Pool, error) {
	c, err := e.config(conns)
	if err != nil {
		return nil, err
	}
	return pgxpool.NewWithConfig(ctx, c)
}

// dial opens one connection.
func (e *Engine) dial(ctx context.Context) (*pgx.Conn, error) {
	c, err := e.config(1)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, c.ConnConfig)
	if err != nil {
		return nil, away("connecting to the database", err)
	}
	if err := rightEncoding(conn); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// connect opens one connection, with a schema of the newest version.
func (e *Engine) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.schema().migrate(ctx, conn); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// rightEncoding refuses a database that cannot hold any text there is: it would
// refuse some batch one day, and all that come after.
func rightEncoding(conn *pgx.Conn) error {
	if name := conn.PgConn().ParameterStatus("server_encoding"); name != "" && name != "UTF8" {
		return fmt.Errorf("the database %q has the encoding %s, and needs UTF8: make another one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
			conn.Config().Database, name)
	}
	return nil
}

// patiently tries again for a while what fails because of a lock.
func (e *Engine) patiently(ctx context.Context, try func() error) error {
	for end := time.Now().Add(cmp.Or(e.patience, lockPatience)); ; {
		err := try()
		if !errors.Is(err, capture.ErrLocked) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lockRetry):
		}
	}
}

// schema is the name of a schema, which statements have as {s}.
type schema string

func (s schema) q(sql string) string {
	return strings.ReplaceAll(sql, "{s}", pgx.Identifier{string(s)}.Sanitize())
}
