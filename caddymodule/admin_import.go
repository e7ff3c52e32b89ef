package caddymodule

import (
	"errors"
	"mime"
	"net/http"

	"github.com/caddy-capture/caddy-capture/capture"
)

// importLine answers one line of an import.
type importLine struct {
	Line int `json:"line"`
	resultAnswer
}

// importSummary is the last line of the answer to an import.
type importSummary struct {
	Summary *tally `json:"summary"`
}

// importTypes are the media types that an import can have.
var importTypes = map[string]capture.ImportFormat{
	"text/csv":             capture.ImportCSV,
	"application/x-ndjson": capture.ImportJSONLines,
	"application/jsonl":    capture.ImportJSONLines,
	"application/json":     capture.ImportJSONLines,
}

// adminImport answers POST /capture/conversions: it books lines that the owner
// wrote and answers each as it is done.
func adminImport(c *adminCall) error {
	if p := readParams(c.r, c.now); p.Err() != nil {
		return badRequest(p.Err())
	}
	media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	format, ok := importTypes[media]
	if err != nil || !ok {
		return apiErrorf(http.StatusUnsupportedMediaType,
			"Content-Type is %q: send CSV as text/csv or JSON lines as application/x-ndjson", c.r.Header.Get("Content-Type"))
	}
	importer, err := capture.NewImporter(format, c.app.rules, c.lease.codec())
	if err != nil {
		return err
	}
	unlimitRead(c.w)
	// Answers are sent while lines still arrive. HTTP/2 does so anyway.
	_ = http.NewResponseController(c.w).EnableFullDuplex()
	answer := c.long(typeJSONLines)
	var sum tally
	var gone error
	err = c.lease.ledger.Import(c.r.Context(), c.r.Body, importer, func(i capture.Imported) bool {
		line := importLine{i.Line, showResult(&i.Result, i.Err)}
		sum.add(&line.resultAnswer)
		gone = answer.line(line)
		return gone == nil
	})
	if errors.Is(err, capture.ErrHeader) {
		err = badRequest(err)
	}
	if err = errors.Join(err, gone); err == nil {
		err = answer.line(importSummary{&sum})
	}
	return answer.end(err)
}
