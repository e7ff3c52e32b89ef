package pgstore

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A COMMIT can wait for a synchronous standby. Whoever cancels that wait, be it a
// deadline of ours, an administrator or statement_timeout, does not undo the
// commit: everybody sees it, the server says that all is well, with a warning,
// and a standby that takes over knows nothing of it. So a commit that was warned
// about is one of which the outcome is not known; and a batch that turns out to
// be applied is not done with before something written later was confirmed,
// since a standby has that only with all before it.

// errUnconfirmed: the database committed and did not keep it as it was told to.
var errUnconfirmed = errors.New("the database committed without waiting for its synchronous standby")

// warned is where a connection notes that.
const warned = "capture: warned"

func noteWarning(c *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" && (n.Code == "01000" || n.Code == "57P01") {
		c.CustomData()[warned] = true
	}
}

func forgetWarnings(c *pgx.Conn) { delete(c.PgConn().CustomData(), warned) }

// confirmed tells whether what was committed since forgetWarnings is as durable
// as the database is set up to make it.
func confirmed(c *pgx.Conn) error {
	if c.PgConn().CustomData()[warned] != nil {
		return errUnconfirmed
	}
	return nil
}
