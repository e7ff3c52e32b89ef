package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/spf13/cobra"

	"github.com/caddy-capture/caddy-capture/capture"
)

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "migrate --to <store> [--from <store> | --config <path> [--adapter <name>]]",
		Short:                 "Copies everything to another kind of store, while Caddy is stopped",
		Long: `
Copies the whole store to an empty one: from the embedded store to a database
that several Caddies share, or back. It reads both sides once more and compares
every record, and checks the copy, before it lets a server open it. The source
stays as it is.

A store is written as after "store" in a Caddyfile, in quotes:

  'postgres <connection string>'
  'badger <directory>', or only a directory

A schema or a spool directory other than the default are told by --schema and
--spool. Placeholders such as {env.DATABASE_URL} and {file./run/secrets/db} are
replaced: a password on the command line could be seen by others. The source is
told by --from, or it is that of the configuration that --config names, else the
default one, in Caddy's data directory.

Stop all Caddies that use either store. If the copy is interrupted, run the same
command again: it goes on where it stopped. Run it as the user that Caddy runs
as, on a machine that will run one of the Caddies: its spool directory becomes
that of the node that goes on in place of the embedded store.`,
		Example: `  systemctl stop caddy
  sudo -u caddy -H --preserve-env=DATABASE_URL caddy capture migrate --to 'postgres {env.DATABASE_URL}'
  sudo -u caddy -H --preserve-env=DATABASE_URL caddy capture migrate --from 'postgres {env.DATABASE_URL}' --to /var/lib/caddy/capture-back`,
		Args: cobra.NoArgs,
		RunE: runMigrate,
	}
	flags := cmd.Flags()
	flags.String("to", "", "The empty store that is filled")
	flags.String("from", "", "The store that is copied")
	flags.String("schema", "", "Schema of the database, if not "+defaultSchema)
	flags.String("spool", "", "Spool directory of this machine for the database, if not the default")
	for _, name := range []string{"to", "from", "spool"} {
		if err := cmd.RegisterFlagCompletionFunc(name, completeDirectories); err != nil {
			panic(err) // the flag exists, and is registered once
		}
	}
	return cmd
}

// completeDirectories offers directories; a connection string nobody can offer.
func completeDirectories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// defaultSchema is for the help.
const defaultSchema = "capture"

func runMigrate(cmd *cobra.Command, _ []string) error {
	to, from, config := flagString(cmd, "to"), flagString(cmd, "from"), flagString(cmd, "config")
	switch {
	case strings.TrimSpace(to) == "":
		return errors.New(`--to is missing: say where to copy to, for example --to 'postgres {env.DATABASE_URL}'`)
	case from != "" && config != "":
		return errors.New("--from and --config both name the source: give one of them")
	}
	target, err := storeFromFlag("to", to, cmd)
	if err != nil {
		return err
	}
	source, err := storeOf(config, flagString(cmd, "adapter"), "")
	if from != "" {
		source, err = storeFromFlag("from", from, cmd)
	}
	if err != nil {
		return err
	}
	fromEngine, done, err := source.engineOnly()
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	defer done()
	toEngine, done, err := target.engineOnly()
	if err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	defer done()
	return migrate(cmd, fromEngine, toEngine)
}

// migrate copies, and says what was copied.
func migrate(cmd *cobra.Command, from, to capture.Engine) error {
	bar := newProgress(cmd, string(capture.CopyingStep), false)
	bar.about = true
	step := capture.CopyingStep
	first := true
	r, err := capture.CopyStore(cmd.Context(), from, to, func(now capture.CopyStep, done, total int64) {
		if now != step {
			step = now
			bar.begin(string(now))
		}
		if first {
			bar.before, first = done, false
		}
		bar.set(done, total)
	})
	bar.clear()
	if err != nil {
		return explainMigrate(cmd, from, to, &r, err)
	}
	if r.Resumed > 0 {
		if err := say(cmd, "an earlier attempt had copied %s", plural(r.Resumed, "record")); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "copied and compared: %s, %s, %s, %s\n", plural(r.Clicks, "click"),
		plural(r.Conversions, "conversion"), plural(r.Entries, "journal entry"), plural(r.Sums, "sum"))
	if err != nil {
		return err
	}
	return say(cmd, "from: %s\nto:   %s\nname the new store in the configuration of every Caddy before you start it; do not start one with the old store again",
		printable(from.Key()), printable(to.Key()))
}

// explainMigrate says what there is to do.
func explainMigrate(cmd *cobra.Command, from, to capture.Engine, r *capture.CopyResult, err error) error {
	for _, p := range r.Problems {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), printable(p)); err != nil {
			return err
		}
	}
	err = fmt.Errorf("copying %s to %s: %w", from.Key(), to.Key(), err)
	for _, known := range []error{
		capture.ErrLocked, capture.ErrUnfinished, capture.ErrAnotherCopy, capture.ErrCopyDiffers, capture.ErrNewerFormat, capture.ErrDamaged,
	} {
		if errors.Is(err, known) {
			return err // and says what to do itself
		}
	}
	for _, passing := range []error{capture.ErrUnavailable, capture.ErrNoSpace, context.Canceled} {
		if errors.Is(err, passing) {
			return fmt.Errorf("%w\nNothing is lost: run the same command again, and it goes on where it stopped", err)
		}
	}
	return err
}

// storeFromFlag returns an app with the store that a flag says, as it is written
// in a Caddyfile. What is said of a connection string is never shown: it may be a
// password.
func storeFromFlag(flag, text string, cmd *cobra.Command) (*App, error) {
	text = strings.TrimSpace(text)
	name, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://"):
		name, rest = "postgres", text
	case name == "badger":
	case name != "postgres" && strings.Contains(text, "://"): // which may hold a password
		return nil, fmt.Errorf("--%s: there are the stores postgres and badger; a database is named like postgres://user@host/database", flag)
	case name != "postgres":
		name, rest = "badger", text
	}
	if name == "badger" {
		return storeInDirectory(flag, rest)
	}
	s := new(PostgresStore)
	if strings.ContainsAny(rest, "\n\"`") {
		tokens, err := caddyfile.Tokenize([]byte("postgres "+rest), "--"+flag)
		if err != nil {
			return nil, fmt.Errorf("--%s cannot be read: its quotes or braces do not match", flag)
		}
		if err := s.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
			return nil, err
		}
	} else {
		s.DSN = rest // as a whole, even if it has spaces
	}
	if s.DSN == "" {
		return nil, fmt.Errorf("--%s: say where the database is, for example --%s 'postgres {env.DATABASE_URL}'", flag, flag)
	}
	s.Schema, s.Spool = cmp.Or(s.Schema, flagString(cmd, "schema")), cmp.Or(s.Spool, flagString(cmd, "spool"))
	return &App{StoreRaw: caddyconfig.JSONModuleObject(s, "engine", "postgres", nil)}, nil
}

func storeInDirectory(flag, dir string) (*App, error) {
	if dir == "" {
		return nil, fmt.Errorf("--%s: say which directory, for example --%s 'badger /var/lib/caddy/capture'", flag, flag)
	}
	if i := strings.IndexByte(dir, ' '); i >= 0 && !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("--%s: there are the stores postgres and badger; for a directory with spaces give all of its path", flag)
	}
	return &App{StoreRaw: json.RawMessage(caddyconfig.JSONModuleObject(BadgerStore{Directory: dir}, "engine", "badger", nil))}, nil
}
