package caddymodule

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
)

func init() {
	caddy.RegisterModule(BadgerStore{})
}

// BadgerStore keeps clicks and conversions in an embedded database, in one
// directory and with no other service. Configurations that name the same
// directory share one store; a second process cannot open it.
type BadgerStore struct {
	// The directory of the database. It is made at the first start.
	// Placeholders such as `{env.STATE_DIRECTORY}` are replaced. Default: the
	// folder `capture` in Caddy's data directory.
	Directory string `json:"directory,omitempty"`

	dir string
}

// CaddyModule returns the Caddy module information.
func (BadgerStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "capture.stores.badger", New: func() caddy.Module { return new(BadgerStore) }}
}

// Provision finds out the directory. It does not look at the disk.
func (s *BadgerStore) Provision(caddy.Context) error {
	if s.Directory == "" {
		s.dir = filepath.Join(caddy.AppDataDir(), "capture")
		return nil
	}
	dir, err := caddy.NewReplacer().ReplaceOrErr(s.Directory, true, true)
	if err != nil {
		return fmt.Errorf("directory %q: replacing placeholders: %w", s.Directory, err)
	}
	s.dir = dir
	return nil
}

// Engine implements StoreModule.
func (s *BadgerStore) Engine(logger *zap.Logger) capture.Engine {
	return badgerstore.New(s.dir, logger)
}

// UnmarshalCaddyfile reads
//
//	badger [<directory>]
func (s *BadgerStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the store
	if d.NextArg() {
		if s.Directory = d.Val(); s.Directory == "" {
			return d.Err("store badger: the directory is empty; leave it out for the default")
		}
	}
	if d.NextArg() {
		return wrongArgs(d, "store badger [<directory>]")
	}
	if d.NextBlock(0) {
		return d.Errf("store badger has no options, not %q: only a directory after its name", d.Val())
	}
	return nil
}

// Interface guards.
var (
	_ StoreModule           = (*BadgerStore)(nil)
	_ caddy.Provisioner     = (*BadgerStore)(nil)
	_ caddyfile.Unmarshaler = (*BadgerStore)(nil)
)
