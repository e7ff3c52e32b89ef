package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assetFiles embed.FS

// asset is one file that pages use, under a name that changes with what is in
// it, so that browsers may keep it for ever.
type asset struct {
	name, kind string
	data       []byte
}

// assets are found by their names as files and by those in addresses.
var assets = loadAssets()

func loadAssets() map[string]*asset {
	files, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // they are in the binary
	}
	kinds := map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
		".txt": "text/plain; charset=utf-8",
	}
	all := make(map[string]*asset)
	for _, file := range files {
		data, err := assetFiles.ReadFile("assets/" + file.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(data)
		ext := path.Ext(file.Name())
		a := &asset{
			name: strings.TrimSuffix(file.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext,
			kind: kinds[ext], data: data,
		}
		all[file.Name()], all[a.name] = a, a
	}
	return all
}

// assetName is the name of a file in addresses.
func assetName(file string) string { return assets[file].name }

func serveAsset(c *call, name string) error {
	a := assets[name]
	if a == nil || a.name != name {
		return notFound("There is no such file", "It belonged to another version of these pages: load the page again.")
	}
	hd := c.w.Header()
	hd.Set("Content-Type", a.kind)
	hd.Set("Cache-Control", "private, max-age=31536000, immutable")
	http.ServeContent(c.w, c.r, "", time.Time{}, bytes.NewReader(a.data))
	return nil
}
