import java.io.*;
import java.net.*;
import java.util.*;
import java.util.concurrent.*;

/** Threads that make garbage, a socket, a child, the exceptions that come from signals, an exit with a hook. */
public class JavaWork {
    static long work(int factor) {
        long sum = 0;
        List<byte[]> kept = new ArrayList<>();
        for (int i = 0; i < 2000; i++) {
            kept.add(new byte[4096]);
            if (kept.size() > 100) kept.clear();
            sum += (long) i * factor;
        }
        return sum;
    }

    static int deeper(int depth) { return deeper(depth + 1) + 1; }

    static String firstLine(InputStream stream) throws IOException {
        return new BufferedReader(new InputStreamReader(stream)).readLine();
    }

    public static void main(String[] words) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Long>> results = new ArrayList<>();
        for (int i = 0; i < 32; i++) {
            final int factor = i;
            results.add(pool.submit(() -> work(factor)));
        }
        long total = 0;
        for (Future<Long> result : results) total += result.get();
        pool.shutdown();
        System.out.println(total);
        System.gc();
        ServerSocket server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        new Thread(() -> {
            try (Socket peer = server.accept()) { peer.getOutputStream().write("pong\n".getBytes()); } catch (IOException e) { e.printStackTrace(); }
        }).start();
        System.out.println(firstLine(new Socket(server.getInetAddress(), server.getLocalPort()).getInputStream()));
        Process child = new ProcessBuilder("sh", "-c", "echo from child; exit 2").start();
        System.out.println(firstLine(child.getInputStream()) + child.waitFor());
        Object nothing = words.length > 99 ? "" : null;
        try { nothing.toString(); } catch (NullPointerException e) { System.out.println("null pointer"); }
        try { deeper(0); } catch (StackOverflowError e) { System.out.println("stack overflow"); }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        System.exit(3);
    }
}
