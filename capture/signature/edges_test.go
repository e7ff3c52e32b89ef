package signature

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestClockSkew(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		if !s.timed {
			m := s.sign(s.secrets[0], now)
			m.Now = now.AddDate(10, 0, 0)
			wantVerdict(t, s, s.verifier(s.secrets[0]), m, "ok", "ten years later")
			return
		}
		v := s.verifier(s.secrets[0])
		for _, c := range []struct {
			late time.Duration
			want string
		}{
			{0, "ok"}, {defaultTolerance, "ok"}, {-defaultTolerance, "ok"},
			{defaultTolerance + time.Nanosecond, "stale"}, {-defaultTolerance - time.Nanosecond, "stale"},
			{defaultTolerance + time.Second, "stale"}, {-defaultTolerance - time.Second, "stale"},
			{24 * 365 * 40 * time.Hour, "stale"}, {-24 * 365 * 40 * time.Hour, "stale"},
		} {
			m := s.sign(s.secrets[0], now)
			m.Now = now.Add(c.late)
			wantVerdict(t, s, v, m, c.want, c.late.String()+" late")
		}
	})
}

func TestCaseAndEncoding(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		good := s.sign(s.secrets[0], now)
		v := s.verifier(s.secrets[0])
		upper := func(text string) string {
			at := strings.LastIndexAny(text, "= ") + 1
			return text[:at] + strings.ToUpper(text[at:])
		}
		lower := func(text string) string {
			at := strings.LastIndexAny(text, "= ") + 1
			return text[:at] + strings.ToLower(text[at:])
		}
		for what, change := range map[string]func(string) string{"upper": upper, "lower": lower} {
			if !s.folds {
				break
			}
			m := clone(good)
			if s.header != "" {
				m.Request.Header.Set(s.header, change(good.Request.Header.Get(s.header)))
			} else {
				m = changedParameter(good, s.parameter, change)
			}
			wantVerdict(t, s, v, m, "ok", what+" case")
		}
		for _, wrong := range []string{"zz", "%", "=", "====", "e30", strings.Repeat("0", 40), strings.Repeat("A", 44), "\x00", "é"} {
			m := clone(good)
			if s.header != "" {
				m.Request.Header.Set(s.header, wrong)
			} else if s.parameter != "" {
				m = changedParameter(good, s.parameter, func(string) string { return s.parameter + "=" + url.QueryEscape(wrong) })
			} else {
				m.Body = []byte(wrong)
			}
			wantVerdict(t, s, v, m, "bad", "signature "+wrong)
		}
	})
}

func TestHugeHeader(t *testing.T) {
	each(t, func(t *testing.T, s scheme) {
		good := s.sign(s.secrets[0], now)
		v := s.verifier(s.secrets[0])
		for _, name := range append([]string{s.header}, s.rest...) {
			if name == "" {
				continue
			}
			value := good.Request.Header.Get(name)
			for _, filler := range []string{"A", ",", " ", "v1=00,", "x=1,", "v1,AA "} {
				m := clone(good)
				m.Request.Header.Set(name, value+","+strings.Repeat(filler, (1<<20)/len(filler)))
				wantVerdict(t, s, v, m, "bad", "a megabyte of "+filler+" in "+name)
			}
		}
	})
}
