package caddymodule

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

func TestPostgresCaddyfile(t *testing.T) {
	t.Parallel()
	read := func(text string) (*PostgresStore, error) {
		s := new(PostgresStore)
		return s, s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
	}
	for text, want := range map[string]string{
		`postgres {env.DSN}`: `{"dsn":"{env.DSN}"}`,
		"postgres \"host=a dbname=b\" {\n schema tracking\n spool /var/spool/x\n pool 8\n}": `{"dsn":"host=a dbname=b","schema":"tracking","spool":"/var/spool/x","pool":8}`,
	} {
		s, err := read(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := json.Marshal(s)
		if err != nil || string(got) != want {
			t.Errorf("%s became %s, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"postgres":                           "store postgres <connection string>",
		`postgres ""`:                        "is empty",
		"postgres host=a secretword=x":       "quotes",
		"postgres a {\n schema 1a\n}":        "letters",
		"postgres a {\n schema a b\n}":       "schema",
		"postgres a {\n pool 0\n}":           "between 4 and",
		"postgres a {\n pool 3\n}":           "between 4 and",
		"postgres a {\n pool many\n}":        "between 4 and",
		"postgres a {\n spool_size big\n}":   "such as 20GiB",
		"postgres a {\n spool_size 1MB\n}":   "at least 16 MiB",
		"postgres a {\n spool_size 1e30B\n}": "spool_size",
		"postgres a {\n spool \"\"\n}":       "is empty",
		"postgres a {\n pool 4\n pool 5\n}":  "pool",
		"postgres a {\n table x\n}":          postgresOptions,
	} {
		_, err := read(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secretword") {
			t.Errorf("%q gives %v", text, err)
		}
	}
}

// A password is in no error and in no name, and nothing is touched.
func TestPostgresProvision(t *testing.T) {
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("PG_PASSWORD", "hunter2")
	s := &PostgresStore{DSN: "postgres://me:{env.PG_PASSWORD}@db.example:5433/shop"}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	if want := filepath.Join(data, "caddy", "capture-spool"); s.dir != want {
		t.Errorf("the spool is %q", s.dir)
	}
	engine := s.Engine(zap.NewNop())
	if key := engine.Key(); key != `postgres db.example:5433/shop schema "capture"` {
		t.Errorf("the key is %s", key)
	}
	if place := placeOf(engine); place == placeOf((&BadgerStore{dir: filepath.Join(s.dir, "queue")}).Engine(zap.NewNop())) || strings.Contains(place, "hunter2") {
		t.Errorf("the place is %s", place)
	}
	noFiles(t, filepath.Join(data, "caddy"))
	for _, bad := range []*PostgresStore{
		{DSN: "postgres://me:{env.PG_PASSWORD}@db.example:x/shop"}, {DSN: "postgres://me:{env.PG_PASSWORD}%zz@a/shop"},
		{DSN: "host=a password={env.PG_PASSWORD} port=x"}, {DSN: "{env.PG_PASSWORD}"}, {DSN: "{env.CAPTURE_NOT_SET}"}, {},
		{DSN: "postgres://me:a@{env.PG_PASSWORD}@a/shop"}, {DSN: "postgres://me:1/{env.PG_PASSWORD}@a/shop"}, {DSN: "postgres://me:@a/{env.PG_PASSWORD}@shop"},
		{DSN: " "}, {DSN: "postgres://me:{env.PG_PASSWORD}#@a/shop"}, {DSN: "postgres://me:{env.PG_PASSWORD}@a/shop#1"}, {DSN: "host=a", Pool: 3},
		{DSN: "host=a", Schema: "a-b"}, {DSN: "host=a", Pool: -1}, {DSN: "host=a", SpoolSize: 5}, {DSN: "host=a", SpoolSize: -1}, {DSN: "host=a", Spool: "{env.CAPTURE_NOT_SET}"},
	} {
		err := bad.Provision(caddy.Context{})
		if err == nil {
			err = bad.Validate()
		}
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q gives %v", bad.DSN, err)
		}
	}
}

// What a file holds may end with empty lines, and a file that the connection string
// names is named where it is not there.
func TestPostgresFiles(t *testing.T) {
	t.Parallel()
	s := &PostgresStore{DSN: "{file." + writeFile(t, "database_url", "postgres://me:hunter2@db.example/shop\r\n\n") + "}"}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	if key := s.Engine(zap.NewNop()).Key(); key != `postgres db.example:5432/shop schema "capture"` {
		t.Errorf("the key is %s", key)
	}
	for dsn, want := range map[string]string{
		"postgres://me:hunter2@db.example/shop?sslmode=verify-full&sslrootcert=/nowhere/ca.pem": `"/nowhere/ca.pem"`,
		"postgres://me:hunter2@db.example:12/34@shop":                                           "%40",
		"postgres://me:hunter2#@db.example/shop":                                                "%23",
		"postgres://me:hunter2@[db.example/shop":                                                "cannot be read",
		"\t\n":                                                                                  "is empty",
	} {
		s := &PostgresStore{DSN: dsn}
		err := s.Provision(caddy.Context{})
		if err == nil {
			err = s.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q gives %v", dsn, err)
		}
	}
}

func TestPostgresLint(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"postgres://me:{env.P}@db.example/shop?sslmode=verify-full": "",
		"postgres://me:{env.P}@db.example/shop":                     "database_in_the_clear",
		"host=/run/postgresql dbname=shop":                          "",
		"host=127.0.0.1 sslmode=disable":                            "",
		"host=127.0.0.1,192.0.2.1 sslmode=disable":                  "database_in_the_clear",
		"postgres://me:hunter2@localhost/shop":                      "password_in_configuration",
		"postgres://me:hunter2%40%2f@localhost/shop":                "password_in_configuration",
		"postgres://me:{env.P}@localhost/shop%20":                   "",
	} {
		var l linter
		l.postgres(&PostgresStore{DSN: dsn, dsn: strings.ReplaceAll(dsn, "{env.P}", "secret")})
		var got []string
		for _, f := range l.findings {
			got = append(got, f.Rule)
			if strings.Contains(f.Text, "hunter2") {
				t.Errorf("the finding shows the password: %s", f.Text)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: found %v, want %q", dsn, got, want)
		}
	}
}
