package signature

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

func certificate(t *testing.T) *x509.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spiffe, err := url.Parse("spiffe://network.example/postbacks")
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "postbacks", Organization: []string{"Network, Inc"}, Country: []string{"DE"}},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		DNSNames: []string{"postbacks.network.example"}, EmailAddresses: []string{"ops@network.example"},
		IPAddresses: []net.IP{net.ParseIP("192.0.2.7")}, URIs: []*url.URL{spiffe},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	cert := certificate(t)
	pin := fmt.Sprintf("%x", sha256.Sum256(cert.Raw))
	var colons []string
	for i := 0; i < len(pin); i += 2 {
		colons = append(colons, strings.ToUpper(pin[i:i+2]))
	}
	type list = ClientCertificateConfig
	for _, c := range []struct {
		name             string
		config           list
		chained, unchain string
	}{
		{"common name", list{Subjects: []string{"postbacks"}}, "ok", "bad"},
		{"another common name", list{Subjects: []string{"Postbacks"}}, "bad", "bad"},
		{"full name", list{Subjects: []string{`CN=postbacks,O=Network\, Inc,C=DE`}}, "ok", "bad"},
		{"full name from the other end, with spaces", list{Subjects: []string{`C=DE, O=Network\, Inc, cn=postbacks`}}, "ok", "bad"},
		{"part of the name", list{Subjects: []string{"CN=postbacks"}}, "bad", "bad"},
		{"dns", list{SANs: []string{"Postbacks.network.example"}}, "ok", "bad"},
		{"dns by kind", list{SANs: []string{"dns:postbacks.network.example"}}, "ok", "bad"},
		{"dns as e-mail", list{SANs: []string{"email:postbacks.network.example"}}, "bad", "bad"},
		{"domain only", list{SANs: []string{"network.example"}}, "bad", "bad"},
		{"e-mail", list{SANs: []string{"ops@network.example"}}, "ok", "bad"},
		{"uri", list{SANs: []string{"uri:spiffe://network.example/postbacks"}}, "ok", "bad"},
		{"another uri", list{SANs: []string{"spiffe://network.example/postback"}}, "bad", "bad"},
		{"ip", list{SANs: []string{"ip:192.0.2.7"}}, "ok", "bad"},
		{"ip in other words", list{SANs: []string{"::ffff:192.0.2.7"}}, "ok", "bad"},
		{"another ip", list{SANs: []string{"192.0.2.8"}}, "bad", "bad"},
		{"fingerprint", list{Fingerprints: []string{pin}}, "ok", "ok"},
		{"fingerprint as openssl prints it", list{Fingerprints: []string{strings.Join(colons, ":")}}, "ok", "ok"},
		{"another fingerprint", list{Fingerprints: []string{strings.Repeat("0", 64)}}, "bad", "bad"},
		{"one of several", list{Subjects: []string{"x"}, SANs: []string{"y"}, Fingerprints: []string{strings.Repeat("0", 64), pin}}, "ok", "ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := must(NewClientCertificate(c.config))
			m := newMessage("GET", "https://example.com/", "", now)
			for want, state := range map[*string]*tls.ConnectionState{
				&c.chained: {PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}},
				&c.unchain: {PeerCertificates: []*x509.Certificate{cert}},
			} {
				m.Request.TLS = state
				_, err := v.Verify(m)
				if got := verdict(t, err); got != *want {
					t.Errorf("verified %t: got %s (%v), want %s", state.VerifiedChains != nil, got, err, *want)
				}
			}
		})
	}
}

func TestClientCertificateRefused(t *testing.T) {
	t.Parallel()
	cert := certificate(t)
	v := must(NewClientCertificate(ClientCertificateConfig{Fingerprints: []string{fmt.Sprintf("%x", sha256.Sum256(cert.Raw))}}))
	shown := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	for _, c := range []struct {
		name  string
		state *tls.ConnectionState
		at    time.Time
		want  string
	}{
		{"in time", shown, cert.NotAfter, "ok"}, {"just in time", shown, cert.NotBefore, "ok"},
		{"no TLS", nil, now, "bad"}, {"no certificate", &tls.ConnectionState{}, now, "bad"},
		{"expired", shown, cert.NotAfter.Add(1), "bad"}, {"not yet valid", shown, cert.NotBefore.Add(-1), "bad"},
	} {
		m := newMessage("GET", "https://example.com/", "", c.at)
		m.Request.TLS = c.state
		_, err := v.Verify(m)
		if got := verdict(t, err); got != c.want {
			t.Errorf("%s: got %s (%v), want %s", c.name, got, err, c.want)
		}
	}
	for _, c := range []ClientCertificateConfig{
		{}, {Subjects: []string{" "}}, {SANs: []string{""}}, {SANs: []string{"dns:"}}, {Fingerprints: []string{""}},
		{Fingerprints: []string{"sha1"}}, {Fingerprints: []string{strings.Repeat("0", 40)}},
	} {
		if _, err := NewClientCertificate(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
