package caddymodule

import (
	"fmt"
	"io"
	"os"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// maxRatesFile bounds the file of rates, in bytes, so that a wrong path cannot
// fill the memory.
const maxRatesFile = 64 << 20

// loadRates reads the file of exchange rates; there are none without a file.
func loadRates(file string) (*attribution.Rates, error) {
	if file == "" {
		return nil, nil
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(file, true, true)
	if err != nil {
		return nil, fmt.Errorf("rates %q: replacing placeholders: %w", file, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("rates: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRatesFile+1))
	if err != nil {
		return nil, fmt.Errorf("rates: %w", err)
	}
	if len(data) > maxRatesFile {
		return nil, fmt.Errorf("rates: %q has more than %d bytes", path, maxRatesFile)
	}
	rates, err := attribution.ParseRates(data)
	if err != nil {
		return nil, fmt.Errorf("rates: %q: %w", path, err)
	}
	return rates, nil
}
