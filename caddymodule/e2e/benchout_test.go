package e2e

import (
	"bytes"
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
)

// benchOut is the directory that CAPTURE_BENCH_OUT names, from the checkout's top; empty if it does not.
func benchOut() string {
	out := os.Getenv("CAPTURE_BENCH_OUT")
	if out == "" || filepath.IsAbs(out) {
		return out
	}
	return filepath.Join("..", "..", out)
}

// leaveFiles writes what a benchmark came to.
func leaveFiles(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func asCSV(records [][]string) []byte {
	var b bytes.Buffer
	if err := csv.NewWriter(&b).WriteAll(records); err != nil {
		panic(err) // memory takes everything
	}
	return b.Bytes()
}

// measured is empty for what was not measured.
func measured(v float64, decimals int) string {
	if math.IsNaN(v) {
		return ""
	}
	return number(v, decimals)
}
