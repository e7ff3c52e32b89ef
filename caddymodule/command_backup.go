package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

func backupCommand() *cobra.Command {
	return &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "backup <file>|-",
		Short:                 "Writes a consistent copy of the store, while it is in use",
		Long: `
Writes a copy of the store as it is at one moment, while the server goes on. The
file appears under its name, in place of an older one, when it is complete, on
disk and verified. "-" writes to standard output, where nothing can be verified.

The copy holds the key of your click IDs and your visitors' data: keep it safe.
The file is readable for you alone.`,
		Example: `  caddy capture backup /var/backups/capture-$(date +%F).backup
  caddy capture backup - | ssh elsewhere 'cat > capture.backup'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == toStdout && isTerminal(cmd.OutOrStdout()) {
				return errors.New("a backup is no text: write it to a file or to another program")
			}
			return download(cmd, "/capture/backup", nil, "backing up", args[0], verifyBackup)
		},
	}
}

func verifyBackup(r io.Reader) error {
	_, err := capture.VerifyBackup(r)
	return err
}

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "restore <file> [--config <path> [--adapter <name>] | --store <directory>]",
		Short:                 "Fills an empty store from a backup, while Caddy is stopped",
		Long: `
Fills an empty store from a backup. All of the file is verified before anything
is written: one that is damaged or incomplete is refused. So are a store that is
in use and one that is not empty; move the old directory away first. Where
several Caddies share a database, stop all of them, drop its schema, and restore
on one of them.

Which store is meant is told by --config, or --store names its directory; else
it is the default one, in Caddy's data directory. Run this as the user that
Caddy runs as, or the files will not be Caddy's.`,
		Example: `  systemctl stop caddy
  mv /var/lib/caddy/.local/share/caddy/capture /var/lib/caddy/capture.old
  sudo -u caddy -H caddy capture restore capture.backup --config /etc/caddy/Caddyfile
  systemctl start caddy`,
		Args: cobra.ExactArgs(1),
		RunE: runRestore,
	}
	cmd.Flags().String("store", "", "Directory of the store")
	return cmd
}

func runRestore(cmd *cobra.Command, args []string) error {
	app, err := storeOf(flagString(cmd, "config"), flagString(cmd, "adapter"), flagString(cmd, "store"))
	if err != nil {
		return err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a file: a backup is read twice, to verify it first", args[0])
	}
	engine, done, err := app.engineOnly()
	if err != nil {
		return err
	}
	defer done()
	bar := newProgress(cmd, "verifying", true)
	err = engine.Restore(cmd.Context(), &restoreReader{f: f, bar: bar, size: info.Size()})
	bar.clear()
	if err != nil {
		return fmt.Errorf("restoring %s: %w", engine.Key(), err)
	}
	return say(cmd, "restored: %s", printable(engine.Key()))
}

// storeOf returns an app that is configured with the store that is meant, and
// not provisioned.
func storeOf(config, adapter, dir string) (*App, error) {
	app := new(App)
	switch {
	case dir != "" && config != "":
		return nil, errors.New("--store and --config both name a store: give one of them")
	case dir != "":
		app.StoreRaw = caddyconfig.JSONModuleObject(BadgerStore{Directory: dir}, "engine", "badger", nil)
	case config != "":
		data, _, _, err := caddycmd.LoadConfig(config, adapter)
		if err != nil {
			return nil, fmt.Errorf("loading the configuration: %w", err)
		}
		var c struct {
			Apps struct {
				Capture json.RawMessage `json:"capture"`
			} `json:"apps"`
		}
		if err := json.Unmarshal(data, &c); err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
		if c.Apps.Capture != nil {
			if err := caddy.StrictUnmarshalJSON(c.Apps.Capture, app); err != nil {
				return nil, fmt.Errorf("reading the app capture of the configuration: %w", err)
			}
		}
	}
	return app, nil
}

// engineOnly returns the engine of the store and nothing else of the app.
func (a *App) engineOnly() (engine capture.Engine, done func(), err error) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	store, err := a.loadStore(ctx)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return store.Engine(zap.NewNop()), cancel, nil
}

// restoreReader shows how far a backup was read: first to verify it, then to
// write what it holds.
type restoreReader struct {
	f    io.ReadSeeker
	bar  *progress
	at   int64
	size int64
}

func (r *restoreReader) Read(b []byte) (int, error) {
	n, err := r.f.Read(b)
	r.at += int64(n)
	r.bar.set(r.at, r.size)
	return n, err
}

// Seek implements io.Seeker.
func (r *restoreReader) Seek(offset int64, whence int) (int64, error) {
	at, err := r.f.Seek(offset, whence)
	if err == nil {
		if at == 0 && r.at > 0 {
			r.bar.begin("restoring")
		}
		r.at = at
	}
	return at, err
}
