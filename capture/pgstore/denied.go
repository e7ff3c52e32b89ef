package pgstore

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// denials are the SQLSTATE codes by which a server says that it will not have
// this node until a person changes something, and what that is.
var denials = map[string]string{
	"28P01": "it does not accept the user and password of the connection string",
	"28000": "it does not let the user of the connection string in from here; look at pg_hba.conf on the server",
	"3D000": "it has no database of the name in the connection string",
	"3F000": "the schema is not there any more",
	"42501": "the user of the connection string lacks a right that Capture needs",
	"42P01": "a table of Capture's is not there any more",
	"42703": "a column of Capture's is not there any more",
}

// denied tells of an error that passes only when a person does something about
// it, and says what; otherwise it is "".
func denied(err error) string { return denials[codeOf(err)] }

// refusedForGood tells of an error that lies with what was to be written, and
// not with the server or with who else is writing.
func refusedForGood(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.SeverityUnlocalized == "FATAL" || pg.SeverityUnlocalized == "PANIC" {
		return false
	}
	switch {
	case strings.HasPrefix(pg.Code, "22"), // bad data
		strings.HasPrefix(pg.Code, "23"), // a constraint
		strings.HasPrefix(pg.Code, "54"), // beyond a limit of the server
		pg.Code == "P0001":               // a trigger of somebody's own
		return true
	}
	return false
}
