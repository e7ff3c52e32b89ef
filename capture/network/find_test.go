package network

import (
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"affise": "affise", "AFFISE": "affise", " Affise ": "affise", "impact": "impact", "Impact.com": "impact",
		"hasoffers": "tune", "Has Offers": "tune", "TUNE (HasOffers)": "tune", "adwork_media": "adwork-media", "AdGate": "prodege",
		"ClickBank": "clickbank", "clickbank-ins": "clickbank-ins", "Digistore24 vendor": "digistore24-ipn", "woo": "woocommerce",
	} {
		n, err := Find(name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if n.Name != want {
			t.Errorf("%q is %s, want %s", name, n.Name, want)
		}
	}
}

func TestFindUnknown(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"afise": "affise", "stripes": "stripe", "shopfy": "shopify", "everflw": "everflow", "clickbnk": "clickbank",
		"digistore": "digistore24", "woocomerce": "woocommerce", "trakier": "trackier", "max bounty cpa": "maxbounty",
		"": "name one", "zzzzzzzz": "leave `network` out", "##": "name one", strings.Repeat("long", 1000): "...",
	} {
		n, err := Find(name)
		if err == nil {
			t.Errorf("%q is %s", clip(name), n.Name)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, want something with %q", clip(name), err, want)
		}
		if len(err.Error()) > 400 {
			t.Errorf("%q: the message has %d bytes", clip(name), len(err.Error()))
		}
	}
}

// The slice of All is the caller's.
func TestAll(t *testing.T) {
	t.Parallel()
	all := All()
	if len(all) < 40 {
		t.Fatalf("only %d networks", len(all))
	}
	all[0] = nil
	if All()[0] == nil {
		t.Error("the catalogue changed with the caller's slice")
	}
}
