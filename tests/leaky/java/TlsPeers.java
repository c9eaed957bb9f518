import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.X509Certificate;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

/**
 * A TLS server and a TLS client of JSSE, in one process, which end their connections as asked:
 * TlsPeers KEY-STORE COUNT close|drop TLSv1.2|TLSv1.3.
 */
public class TlsPeers {
    static final int RESPONSE = 3000;

    public static void main(String[] arguments) throws Exception {
        SSLContext context = context(Path.of(arguments[0]));
        int count = Integer.parseInt(arguments[1]);
        boolean isClosed = arguments[2].equals("close");
        ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        Thread server = new Thread(() -> {
            try {
                for (int i = 0; i < count; i++) {
                    Socket plain = listener.accept();
                    SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(plain, null, false);
                    socket.setUseClientMode(false);
                    serve(plain, socket, isClosed);
                }
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        });
        server.start();
        for (int i = 0; i < count; i++) {
            Socket plain = new Socket(InetAddress.getLoopbackAddress(), listener.getLocalPort());
            SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(plain, "localhost", 1, false);
            socket.setEnabledProtocols(new String[] {arguments[3]});
            request(plain, socket, isClosed);
        }
        server.join();
        System.out.println("done");
    }

    /** Answers one request, and hangs up when the client has. */
    static void serve(Socket plain, SSLSocket socket, boolean isClosed) throws IOException {
        InputStream in = socket.getInputStream();
        in.read(new byte[100]);
        socket.getOutputStream().write(new byte[RESPONSE]);
        try {
            while (in.read(new byte[100]) > 0) {
                continue;
            }
        } catch (SSLException | EOFException truncated) {
            // The client hung up without a close_notify.
        }
        hangUp(plain, socket, isClosed);
    }

    static void request(Socket plain, SSLSocket socket, boolean isClosed) throws IOException {
        socket.getOutputStream().write("hello".getBytes());
        socket.getInputStream().readNBytes(RESPONSE);
        hangUp(plain, socket, isClosed);
    }

    static void hangUp(Socket plain, SSLSocket socket, boolean isClosed) throws IOException {
        if (isClosed) {
            socket.close();
        }
        plain.close();
    }

    static SSLContext context(Path file) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream bytes = Files.newInputStream(file)) {
            store.load(bytes, "secret".toCharArray());
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(store, "secret".toCharArray());
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), new TrustManager[] {new Anybody()}, null);
        return context;
    }

    /** Nobody checks certificates here: the peer is this program. */
    static class Anybody implements X509TrustManager {
        public void checkClientTrusted(X509Certificate[] chain, String type) {}

        public void checkServerTrusted(X509Certificate[] chain, String type) {}

        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }
}
