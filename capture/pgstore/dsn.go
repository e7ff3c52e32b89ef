package pgstore

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Target is what a connection string says of the way to the database.
type Target struct {
	// Clear: it may go over a network without TLS.
	Clear bool
	// Password is "" where the string has none.
	Password string
}

// ParseDSN reads a connection string and reaches for nothing. Its errors show
// nothing of it.
func ParseDSN(dsn string) (Target, error) {
	c, err := parseDSN(dsn)
	if err != nil {
		return Target{}, err
	}
	t := Target{Password: c.ConnConfig.Password, Clear: c.ConnConfig.TLSConfig == nil && !onThisMachine(c.ConnConfig.Host)}
	for _, f := range c.ConnConfig.Fallbacks {
		t.Clear = t.Clear || f.TLSConfig == nil && !onThisMachine(f.Host)
	}
	return t, nil
}

func parseDSN(dsn string) (*pgxpool.Config, error) {
	isURL := strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
	if isURL && strayAt(dsn) {
		return nil, errors.New("the connection string has an @ or / too many: in a password they have to be written as %40 and %2F")
	}
	c, err := pgxpool.ParseConfig(dsn)
	if file := (*fs.PathError)(nil); errors.As(err, &file) {
		return nil, fmt.Errorf("the connection string names the file %q, which cannot be read: %w", file.Path, file.Err)
	}
	if err != nil {
		// What is wrong with it is not said: a mistake may make anything of the password.
		return nil, errors.New("the connection string cannot be read; it has to be like postgres://user:password@host/database, " +
			"with %XX for special characters of the password, or like host=db.example user=me password=secret dbname=shop")
	}
	if isURL && strings.ContainsRune(dsn, '#') {
		return nil, errors.New("the connection string has a #, which ends a URL: in a password it has to be written as %23")
	}
	return c, nil
}

// strayAt tells of an @ that does not end the user and password, most likely one of
// a password: the rest of that would be taken for a host or a database, which are
// shown.
func strayAt(url string) bool {
	_, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		rest = rest[i+1:]
	}
	rest, _, _ = strings.Cut(rest, "?")
	return strings.ContainsRune(rest, '@')
}

// onThisMachine tells whether a host is this machine, or a socket on it.
func onThisMachine(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
