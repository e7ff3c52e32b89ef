package capture

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzImportLine imports any three lines, in both formats. Each must come to a
// postback that can be stored, or be refused in words.
func FuzzImportLine(f *testing.F) {
	for _, s := range []string{
		"click_id,txid,payout,currency,status,time\nCLICK,t1,12.50,USD,approved,2026-11-22 10:00:00\nCLICK,t1,,,reversed,",
		"conversion_id,status\n0123456789abcdefghijklmnop,rejected\n,approved",
		"CLICK_ID, txid ,click_id\nx", "\xef\xbb\xbfclick_id\n\"CLICK\"\n\"CL\"ICK", "click_id;txid\nCLICK;t", "\n\n", "click_id,colour\n",
		"{\"click_id\":\"CLICK\",\"payout\":12.50,\"currency\":\"USD\"}\n{\"click_id\":\"CLICK\"\n[{\"click_id\":\"CLICK\"}]",
		"{\"click_id\":{\"txid\":\"CLICK\"}}\n5\n\"click_id\"", "click_id\n{click_id}\n" + strings.Repeat("x", 300),
	} {
		f.Add([]byte(fill(s)))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, format := range []ImportFormat{ImportCSV, ImportJSONLines} {
			importLines(t, format, file)
		}
	})
}

func importLines(t *testing.T, format ImportFormat, file []byte) {
	im, err := NewImporter(format, &Rules{}, senderCodec)
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]bool)
	for _, line := range bytes.SplitN(file, []byte("\n"), 3) {
		p, err := im.Line(line, arrivalTime)
		if err != nil {
			if text := err.Error(); p != nil || text == "" || len(text) > 1000 || !utf8.ValidString(text) {
				t.Errorf("%q: an impossible refusal: %q", line, text)
			}
			continue
		}
		if p == nil {
			continue
		}
		switch {
		case p.HasRef == (p.Correction != nil), p.Problem != "", p.Authentic != authenticImport, p.Route != ImportRoute:
			t.Errorf("%q is %+v", line, p)
		case keys[p.Claim.Key], p.Claim.Key == "":
			t.Errorf("%q has the key %q of a line before", line, p.Claim.Key)
		case slices.Index(im.columns, "") >= 0:
			t.Errorf("the columns are %q", im.columns)
		}
		keys[p.Claim.Key] = true
		if _, err := EncodeRecord(&Entry{Claim: p.Claim, Raw: p.Raw}); err != nil {
			t.Errorf("%q cannot be stored: %v", line, err)
		}
	}
}
