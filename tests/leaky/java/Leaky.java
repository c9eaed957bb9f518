// A server in Java that forgets to close its connections at the end of the stream.
// `java -XX:+PreserveFramePointer Leaky COUNT SECONDS GO`; the peers are connections of its own.
// It closes some connections properly, for its methods to be compiled, and waits for the file GO;
// then it forgets COUNT of them, and closes nine for each.
import java.io.File;
import java.io.IOException;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

public class Leaky {
    static final List<Socket> held = new ArrayList<>();

    static Socket eofForgetAccept(ServerSocket listener) throws IOException {
        Socket connection = listener.accept();
        return connection;
    }

    static void eofForgetHandle(Socket connection) throws IOException {
        byte[] buffer = new byte[64];
        while (connection.getInputStream().read(buffer) >= 0)
            ;
    }

    static void eofForgetClose(Socket connection) throws IOException {
        connection.close();
    }

    static void serve(ServerSocket listener, int count) throws IOException {
        for (int i = 0; i < 10 * count; i++) {
            new Socket("127.0.0.1", listener.getLocalPort()).close();
            Socket connection = eofForgetAccept(listener);
            eofForgetHandle(connection);
            if (i % 10 == 0)
                held.add(connection);
            else
                eofForgetClose(connection);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Thread end = new Thread(() -> {
            try {
                Thread.sleep(1000 * Long.parseLong(arguments[1]));
            } catch (InterruptedException interrupted) {
            }
            Runtime.getRuntime().halt(0);
        });
        end.setDaemon(true);
        end.start();
        ServerSocket listener = new ServerSocket(0);
        for (int round = 0; round < 5; round++) {
            serve(listener, 1);
            held.remove(0).close();
        }
        System.out.println("warm " + ProcessHandle.current().pid());
        while (!new File(arguments[2]).exists())
            Thread.sleep(50);
        serve(listener, Integer.parseInt(arguments[0]));
        System.out.println("ready " + held.size());
        end.join();
    }
}
